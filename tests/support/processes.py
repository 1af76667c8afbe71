"""What tests ask about processes and the program does not."""

from pathlib import Path

from berth.linux.files import read_text


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, nearest first, as of now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (text := read_text(entry / "stat")):
            parent = int(text[text.rindex(")") + 2 :].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    return found
