"""README and CONTRIBUTING are true: what they name exists, and their tables miss no package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
PACKAGES = ("berth", "cri_shim", "nodeagent")
PATH = re.compile(
    r"(?<![\w/.<>-])(?:berth|bench|cri_shim|demo|docs|integration|nodeagent|proto|scripts|tests)"
    r"/[\w/.-]*"
)
TARGET = re.compile(r"\bmake ([a-z-]+)")
LINK = re.compile(r"\]\(([^)#:]+)\)")
ABSENT = {"install", "test-vm"}
"""Targets that the README lists as not there."""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_and_link_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    named = [found[0] for found in PATH.finditer(text)] + LINK.findall(text)
    assert len(named) > 1
    # What stands before a placeholder, such as `cri_shim/verbs/<verb>.py`, is a directory.
    assert [path for path in named if not (ROOT / path.rstrip(".")).exists()] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_target_of_make_exists(name: str) -> None:
    targets = set(TARGET.findall((ROOT / name).read_text()))
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert "test" in targets
    assert targets - known - ABSENT == set()
    assert known & ABSENT == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_tables_name_every_part_of_a_package(package: str) -> None:
    """Whoever looks for the place of a thing reads them, so a new package belongs there at once."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    start = text.index(f"\n`{package}/`")
    table = text[start:].split("\n\n")[1]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))))
    parts = {
        path.stem
        for path in (ROOT / package).iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
    }
    assert named == parts
