"""A directory in which programs can be executed and device nodes work, wherever it is.

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

    The mount that a kill -9 left is used again. The lazy unmount at the end leaves open files and
    running programs alone.
    """
    path.mkdir(exist_ok=True, mode=0o711)
    if not mounts.exists_at(path):
        mounts.bind(path, path)
    # systemd makes / shared: without this, mounts made below would be copied into every namespace
    # that follows the host's.
    mounts.make_private(path)
    # The flags given replace those that /run has: nodev and noexec go.
    mounts.remount(path, Flag.BIND | Flag.NOSUID)
    try:
        yield path
    finally:
        mounts.unmount(path, lazy=True)
