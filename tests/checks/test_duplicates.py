"""No six lines of code stand twice, letter for letter, outside tests."""

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("berth", "cri_shim", "nodeagent", "demo", "bench")
RUN = 6
"""Lines from which on it counts. Shorter ones are usually two calls that only look alike."""

Line = tuple[int, str]


def code_lines(source: str) -> list[Line]:
    """Numbers and texts of lines, without indentation, imports, comments and blank lines."""
    imports = set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    numbered = ((number, line.strip()) for number, line in enumerate(source.splitlines(), 1))
    return [
        (number, text)
        for number, text in numbered
        if text and not text.startswith("#") and number not in imports
    ]


def repeated(sources: dict[str, str]) -> list[str]:
    """Each place whose first lines are those of an earlier place: `a.py:10-15 = b.py:3-8`."""
    places = defaultdict(list)
    for name, source in sources.items():
        lines = code_lines(source)
        for first in range(len(lines) - RUN + 1):
            window = lines[first : first + RUN]
            key = tuple(text for _, text in window)
            places[key].append((name, window[0][0], window[-1][0]))
    return [
        f"{name}:{first}-{last} = {other}:{begin}-{end}"
        for (name, first, last), *others in places.values()
        for other, begin, end in others
    ]


def tracked() -> Iterator[str]:
    listed = ["git", "ls-files", "-z", "--", *PARTS]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in done.stdout.split("\0"):
        if name.endswith(".py") and "/pb/" not in name and (ROOT / name).is_file():
            yield name


def test_no_six_lines_stand_twice() -> None:
    sources = {name: (ROOT / name).read_text() for name in tracked()}
    assert len(sources) > 100
    assert repeated(sources) == [], "say it once, in a place that both may import"


def test_what_counts() -> None:
    block = "".join(f"x{n} = {n}\n" for n in range(RUN))
    imports = "from a import (\n    b,\n    c,\n    d,\n    e,\n    f,\n    g,\n)\n"
    other = "def f():\n" + "".join(f"    # {n}\n\n    x{n} = {n}\n" for n in range(RUN))
    assert repeated({"a": imports + block, "b": imports + other}) == ["a:9-14 = b:12-27"]
    assert repeated({"a": block + "y = 1\n" + block}) == ["a:1-6 = a:8-13"]
    assert repeated({"a": block, "b": block.replace("x0", "y0")}) == []
