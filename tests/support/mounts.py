"""Mounts that only tests make, and taking away whatever a test left."""

import errno
import os

from berth.linux import syscalls
from berth.linux.mounts import mounts_below, unmount
from berth.linux.syscalls import AnyPath

_MS_SLAVE, _MS_SHARED = 1 << 19, 1 << 20


def filesystem(source: str, target: AnyPath, kind: str, data: str = "") -> None:
    """Mount a filesystem of any kind: cgroup, fuse, ramfs."""
    syscalls.mount(source, target, kind, 0, data)


def make_slave(target: AnyPath) -> None:
    """Mounts made at the peers appear here too, and not the other way round."""
    syscalls.mount(None, target, None, _MS_SLAVE, "")


def make_shared(target: AnyPath) -> None:
    """Mounts made here appear at all peers, and theirs here."""
    syscalls.mount(None, target, None, _MS_SHARED, "")


def unmount_all(target: AnyPath) -> None:
    """Unmount everything at and below the path; what is busy, lazily."""
    path = os.fsdecode(target)
    for place in [*reversed(mounts_below(path)), path]:
        while _unmount_even_busy(place):
            pass


def _unmount_even_busy(place: str) -> bool:
    try:
        return unmount(place)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return unmount(place, lazy=True)
