"""The retry of `make test`: who gets a second run, who is named, and what fails the whole run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATION = '[tool.pytest.ini_options]\naddopts = "-q"\n'
FLAKY = """
def test_flaky_{n}():
    with open("{directory}/ran_{n}", "a+") as ran:
        ran.seek(0)
        first = ran.read() == ""
        ran.write("x")
    assert not first
"""
GOOD = "def test_good():\n    pass\n"
BROKEN = "def test_broken():\n    assert False\n"
LEAVES = """
import pathlib, pytest

@pytest.fixture
def leaves():
    yield
    pathlib.Path("{directory}/left").touch(exist_ok=False)

def test_leaves(leaves):
    pathlib.Path("{directory}/left").unlink(missing_ok=True)
    pathlib.Path("{directory}/left").touch() if not RAN.exists() else None
    RAN.touch()

RAN = pathlib.Path("{directory}/ran")
"""


def run(directory: Path, *words: str, **files: str) -> tuple[int, list[str]]:
    """Exit status and lines of pytest with the plugin over these files."""
    (directory / "pyproject.toml").write_text(CONFIGURATION)
    for name, text in files.items():
        (directory / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.retry", *words, str(directory)]
    options = ["--rootdir", str(directory), "-c", str(directory / "pyproject.toml")]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def flaky(directory: Path, *numbers: int) -> str:
    return "".join(FLAKY.format(n=n, directory=directory) for n in numbers)


@pytest.mark.parametrize("words", [(), ("-n", "2", "--dist", "loadfile")], ids=["alone", "xdist"])
def test_once_flaky_passes_and_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    status, lines = run(tmp_path, *words, good=GOOD, flaky=flaky(tmp_path, 1))
    assert status == 0
    assert lines[-2:] == [
        "retry: 1 needed a second run, of which 0 failed again:",
        "  test_flaky.py::test_flaky_1 (passed alone)",
    ]
    assert (tmp_path / "ran_1").read_text() == "xx"


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_failing_twice_fails_the_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    status, lines = run(tmp_path, *words, broken=BROKEN, flaky=flaky(tmp_path, 1))
    assert status == 1
    assert sorted(lines[-2:]) == [
        "  test_broken.py::test_broken (failed twice)",
        "  test_flaky.py::test_flaky_1 (passed alone)",
    ]


def test_three_may_be_flaky_and_four_may_not(tmp_path: Path) -> None:
    three, four = tmp_path / "three", tmp_path / "four"
    for directory, count in ((three, 3), (four, 4)):
        directory.mkdir()
        status, lines = run(directory, flaky=flaky(directory, *range(count)))
        assert status == (0 if count == 3 else 1)
        assert [n for n in range(count) if f"test_flaky_{n}" not in "".join(lines[-count:])] == []
    assert (three / "ran_0").read_text() == "xx"
    assert (four / "ran_0").read_text() == "x"


def test_what_a_test_leaves_behind_counts_as_its_failure(tmp_path: Path) -> None:
    status, lines = run(tmp_path, leaves=LEAVES.format(directory=tmp_path))
    assert status == 0
    assert lines[-1] == "  test_leaves.py::test_leaves (passed alone)"


def test_nothing_failed(tmp_path: Path) -> None:
    status, lines = run(tmp_path, good=GOOD)
    assert status == 0
    assert not [line for line in lines if "retry" in line]


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_file_that_is_no_python_is_not_retried(tmp_path: Path, words: tuple[str, ...]) -> None:
    status, lines = run(tmp_path, *words, wrong="def", flaky=flaky(tmp_path, 1))
    assert status != 0
    assert not [line for line in lines if "retry" in line]


@pytest.mark.parametrize("words", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_run_cut_short_is_not_retried(tmp_path: Path, words: tuple[str, ...]) -> None:
    status, lines = run(tmp_path, *words, "-x", a=flaky(tmp_path, 1), b=BROKEN)
    assert status != 0
    assert not [line for line in lines if "retry" in line]
