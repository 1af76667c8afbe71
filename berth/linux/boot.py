"""The boot id: a record of another boot names processes, mounts and namespaces that are gone."""

from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's id of this boot."""
    return path.read_text().strip()
