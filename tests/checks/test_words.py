"""The project speaks of itself alone, and in the words of its field."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = re.compile(
    rb"/work/(?:main|shared|\.library)|\bTODO\b|\bFIXME\b|\bXXX\b|NotImplementedError|files\.pythonhosted|pypi\.org|"
    rb"deb\.debian\.org|registry\.npmjs"
)
DIALECT = {
    rb"folders?\b": "directory",
    rb"patience": "timeout, or tries",
    rb"\bhand(?:s|ed|ing)? back\b": "release, or return",
    rb"leeway": "tolerance",
}
"""Words that a reader had to learn here, and those of the field for them; also inside names."""
ON_DISK = ("cri_shim/images/content/records.py", b"folder")
"""A key in the records of layers: a state directory of before must still open."""
MYSELF = "tests/checks/test_words.py"


def texts() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file that people write."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\n"):
        if name and name != MYSELF and "/pb/" not in name and (ROOT / name).is_file():
            yield name, (ROOT / name).read_bytes()


def test_no_foreign_words() -> None:
    found = [
        f"{name}: {match[0].decode()}" for name, text in texts() for match in FOREIGN.finditer(text)
    ]
    assert found == []


def test_no_private_dialect() -> None:
    """Names, docstrings, errors and documents are read by people who know Kubernetes, not us."""
    patterns = {re.compile(word, re.IGNORECASE): better for word, better in DIALECT.items()}
    found = [
        f"{name}:{text.count(bytes([10]), 0, match.start()) + 1}: {match[0].decode()}, say {better}"
        for name, text in texts()
        for pattern, better in patterns.items()
        for match in pattern.finditer(text)
        if (name, match[0]) != ON_DISK and not name.startswith("tests/golden/")
    ]
    assert found == []
