"""The boot id: after a reboot nothing that ran runs any more."""

from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id(path: Path = BOOT_ID) -> str:
    """The kernel's id of this boot."""
    return path.read_text().strip()
