"""Layers as a user namespace sees them: idmapped copies of their mounts.

A layer's files belong to root on disk; through the copy they belong to the namespace's root
(mount_setattr(2)). Nothing is copied or changed on disk, so all pods share the layers.

Idmapped mounts came with Linux 5.12; overlayfs takes them as layers since 5.19. An idmapped mount
of the overlay itself it does not support, so each layer is mapped alone.
The upper directory is not mapped: what the container writes has the ids of the host's side.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from berth.linux import mounts, namespaces
from berth.linux.mounts import Attribute
from cri_shim.model.namespaces import IdMapping

DIRECTORY = "lower"
_ROOT = (IdMapping(container_id=0, host_id=1, length=1),)


@contextlib.contextmanager
def idmapped(paths: Sequence[str], userns: Path, directory: Path) -> Iterator[list[str]]:
    """Paths of copies of these directories by the mapping of the namespace pinned at `userns`.

    They are below `directory`/lower while the context lasts; overlayfs keeps references of its own.
    OSError where the filesystem cannot map ids.
    """
    below = directory / DIRECTORY
    below.mkdir(mode=0o700)
    try:
        fd = os.open(userns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield [_copy(path, fd, below / str(i)) for i, path in enumerate(paths)]
        finally:
            os.close(fd)
    finally:
        drop(directory)


def _copy(path: str, userns_fd: int, target: Path) -> str:
    target.mkdir()
    # A mount gets its mapping once, while it is detached and nobody can have a file open through it
    # (mount_setattr(2), EPERM and EBUSY otherwise): clone, map, then attach.
    tree = mounts.clone_tree(path, recursive=False)
    try:
        mounts.set_attr(tree, on=Attribute.IDMAP, userns_fd=userns_fd)
        mounts.attach(tree, target)
    finally:
        os.close(tree)
    return str(target)


def drop(directory: Path) -> None:
    """Take away the copies below `directory`/lower, also those a crash left; missing is fine."""
    # overlayfs made private clones of these mounts when it was mounted: to unmount ours takes
    # nothing from it. They are only needed as paths for its options.
    below = directory / DIRECTORY
    if not below.is_dir():
        return
    for entry in below.iterdir():
        mounts.unmount(entry, lazy=True)
        entry.rmdir()
    below.rmdir()


def supported(directory: Path) -> bool:
    """Whether the filesystem of the directory can map ids, found by trying. Blocks for some ms."""
    with tempfile.TemporaryDirectory(prefix="idmap-", dir=directory) as scratch:
        # There is no flag to ask for: each filesystem says it by FS_ALLOW_IDMAP in the kernel.
        try:
            userns = namespaces.pin_user(_ROOT, _ROOT, Path(scratch))
        except OSError:
            return False
        try:
            with idmapped([scratch], userns, Path(scratch)):
                return True
        except OSError:
            return False
        finally:
            namespaces.unpin(userns)
