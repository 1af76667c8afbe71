"""The project speaks of itself alone: no word of where or by whom it was made."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = re.compile(
    rb"/work/(?:main|shared|\.library)|\bTODO\b|\bFIXME\b|\bXXX\b|NotImplementedError|files\.pythonhosted|pypi\.org|"
    rb"deb\.debian\.org|registry\.npmjs"
)
MYSELF = "tests/checks/test_words.py"


def test_no_foreign_words() -> None:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    found = [
        f"{name}: {match[0].decode()}"
        for name in names
        if name and name != MYSELF and "/pb/" not in name and (ROOT / name).is_file()
        for match in FOREIGN.finditer((ROOT / name).read_bytes())
    ]
    assert found == []
