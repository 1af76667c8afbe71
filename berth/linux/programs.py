"""A directory from which programs run and where device nodes work, wherever it lies.

Volatile state belongs below /run, which hosts mount `nosuid,nodev` and often `noexec` too.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from berth.linux import mounts
from berth.linux.mounts import Flag


@contextlib.contextmanager
def program_directory(path: Path) -> Iterator[Path]:
    """The directory, made if it is missing, with a mount of its own while the context lasts.

    A mount that a crash left is used again. Whoever has a file of it open, or mounted, keeps it.
    """
    path.mkdir(exist_ok=True, mode=0o711)
    if not mounts.exists_at(path):
        mounts.bind(path, path)
    mounts.make_private(path)
    mounts.remount(path, Flag.BIND | Flag.NOSUID)
    try:
        yield path
    finally:
        mounts.unmount(path, lazy=True)
