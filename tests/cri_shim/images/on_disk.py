"""The image service on a directory of a test, with a real store, and a look at what it leaves."""

import contextlib
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from berth.linux.tasks import Tasks
from cri_shim.images.registry.download import Retries
from cri_shim.images.service import Images, Settings
from cri_shim.store.store import Store
from tests.support.mounts import unmount_all

HASTY = Retries(in_a_row=2, in_all=6, pause=0.001)


@contextlib.asynccontextmanager
async def opened(
    root: Path, used_by: Callable[[], Mapping[str, str]] = dict, **settings: Any
) -> AsyncIterator[Images]:
    """A service on `root`; at the end every mount below it is taken away."""
    root.mkdir(exist_ok=True)
    store = Store(root / "store.db")
    try:
        async with Tasks() as tasks:
            images = Images(
                root,
                store.documents("image"),
                store.documents("layer"),
                tasks,
                used_by,
                Settings(**{"retries": HASTY, **settings}),
            )
            yield images
            await images.close()
    finally:
        unmount_all(root)
        store.close()


def remains(root: Path) -> set[str]:
    """What an image leaves on disk: everything but the empty frame and the store."""
    frame = {"blobs", "blobs/sha256", "blobs/sha512", "layers", "containers", "mounts", "tmp"}
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    return {name for name in found - frame - {"empty"} if not name.startswith("store.db")}


Facts = tuple[Any, ...]


def described(root: Path) -> dict[str, Facts]:
    """Every file below a directory with all that an image says of it; hard links by group."""
    found: dict[str, Facts] = {}
    groups: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        name = str(path.relative_to(root))
        status = path.lstat()
        group = groups.setdefault(status.st_ino, name)
        found[name] = (
            stat.filemode(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0,
            group if not stat.S_ISDIR(status.st_mode) else "",
            _content(path, status),
            {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
                if not key.startswith("trusted.overlay.")
            },
        )
    return found


def _content(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(status.st_mode):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""
