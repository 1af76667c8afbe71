"""Root file systems by their users: which exist, of which image, and one change of each at a time.

    containers/<id>/     a container's writable root
    mounts/<name>/       a read-only mount of an image, for image volumes

What is in such a directory, and how it is mounted, is in `mounting`. A mount for a user namespace
takes some ten milliseconds (every layer is mounted once more), and all mounts of the host wait for
one lock in the kernel: so threads make and drop them, while the state here belongs to the event
loop.

      prepare                      the thread has ended
    (none) ──> in `_uses`, being made ──────────────> in `_uses`, mounted
       ^           │ error, or the caller cancelled        │ release
       └── drop <──┘                                       v
       └──────────────────────────────────────────────── drop

An image counts as used from the moment in which a snapshot of it begins to the one in which it is
gone from the disk: `remove` of the image looks here. kill -9 leaves a directory, with or without
its mount; `load` finds it at the next start, and recovery releases what no container has.
"""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from berth.base.errors import AlreadyExists, RuntimeFailure
from berth.base.locks import NamedLocks
from berth.linux.files import read_text
from berth.linux.threads import in_pool, in_thread
from cri_shim.images.snapshot import mounting
from cri_shim.images.snapshot.layers import Layers
from cri_shim.images.snapshot.mounting import Stack
from cri_shim.model.ids import ImageId
from cri_shim.model.image import Image

Find = Callable[[str], Image]
"""The image of an id; raises NotFound."""

_MOUNTERS = 2
"""Threads that mount. Their own, so that a mount does not wait until the loop's common threads have
removed a gigabyte; few, for the kernel makes mounts of one namespace one after the other."""


@dataclass(frozen=True, slots=True)
class _Use:
    """An image, and what it is mounted for: a container's id, or the key of an image volume."""

    image: ImageId
    user: str


class Snapshots:
    """Mounts of images. All methods belong to the event loop and leave the blocking to threads."""

    def __init__(self, root: Path, layers: Layers, find: Find) -> None:
        self._containers = root / "containers"
        self._mounts = root / "mounts"
        self._empty = root / "empty"
        self._layers = layers
        self._find = find
        self._locks = NamedLocks()
        self._pool = ThreadPoolExecutor(_MOUNTERS, thread_name_prefix="mount")
        self._uses: dict[Path, _Use] = {}
        for directory in (self._containers, self._mounts):
            # Passable: root of a user namespace is nobody here, and has to reach its root.
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._empty.mkdir(exist_ok=True, mode=0o755)

    def load(self) -> None:
        """Find what exists from before. Blocks; at start."""
        for directory in (*self._containers.iterdir(), *self._mounts.iterdir()):
            # Killed right after its mkdir, it has no `image`: it is found all the same, to be
            # released, and keeps no image.
            image = ImageId(read_text(directory / "image") or "")
            self._uses[directory] = _Use(image, read_text(directory / "key") or directory.name)

    def close(self) -> None:
        """End the threads. The mounts stay: containers outlive the daemon."""
        self._pool.shutdown(wait=False)

    def containers(self) -> tuple[str, ...]:
        """Ids that have a snapshot, mounted or not."""
        return tuple(path.name for path in self._uses if path.parent == self._containers)

    def users(self, image_id: ImageId) -> list[str]:
        """What needs this image: container ids, and what it is mounted for."""
        return [use.user for use in self._uses.values() if use.image == image_id]

    def rootfs(self, container_id: str) -> Path:
        return self._containers / container_id / "rootfs"

    async def prepare(self, image_id: str, container_id: str, userns: Path | None = None) -> Path:
        """Mount a new writable snapshot; nothing is left on an error or a cancellation.

        With `userns`, a pinned user namespace, its files belong to that namespace's ids.
        AlreadyExists where the container has one.
        """
        directory = self._containers / container_id
        async with self._locks.hold(str(directory)):
            # The image is looked up after the lock, and nothing is awaited between here and its
            # entry in `_uses`: or a `remove` in between would take the layers away.
            image = self._find(image_id)
            if directory in self._uses:
                raise AlreadyExists(
                    f"{container_id} has a snapshot already: remove the container, then create it"
                )
            stack = self._stack(image, userns)
            await self._make(directory, container_id, stack, mounting.make_writable)
        return directory / "rootfs"

    async def release(self, container_id: str) -> None:
        """Unmount and remove; missing is fine. Waits for a `prepare` of the same id."""
        directory = self._containers / container_id
        async with self._locks.hold(str(directory)):
            await self._drop(directory)

    async def mount_image(self, image_id: str, key: str, userns: Path | None = None) -> Path:
        """A read-only mount of the image; the same key gives the same mount again.

        `userns` as for `prepare`.
        """
        directory = self._mounts / _mount_name(image_id, key)
        target = directory / "rootfs"
        async with self._locks.hold(str(directory)):
            if directory in self._uses:
                if await in_thread(target.is_mount):
                    return target
                await self._drop(directory)  # of the boot before: a directory without its mount
            stack = self._stack(self._find(image_id), userns)

            def make(where: Path, what: Stack) -> None:
                mounting.make_read_only(where, what, key)

            await self._make(directory, key, stack, make)
        return target

    async def unmount_image(self, image_id: ImageId, key: str) -> None:
        """Undo `mount_image`; missing is fine."""
        directory = self._mounts / _mount_name(image_id, key)
        async with self._locks.hold(str(directory)):
            await self._drop(directory)

    def written(self, container_id: str) -> Path:
        """The directory with what the container wrote, whiteouts and all."""
        return self._containers / container_id / "upper"

    async def _make(
        self,
        directory: Path,
        user: str,
        stack: Stack,
        make: Callable[[Path, Stack], None],
    ) -> None:
        """Make on a thread, or leave nothing. The caller holds the directory's lock."""
        self._uses[directory] = _Use(stack.image, user)
        try:
            await in_pool(self._pool, make, directory, stack)
        except AlreadyExists:
            del self._uses[directory]  # a directory that we did not make is not ours to remove
            raise
        except BaseException:
            # A cancelled caller comes here only when the thread has ended, still with the lock:
            # no mount appears behind the back of this `drop`.
            await self._drop(directory)
            raise

    async def _drop(self, directory: Path) -> None:
        """Where it cannot be removed, it stays in `_uses`: it still needs its layers."""
        try:
            await in_thread(mounting.drop, directory)
        except asyncio.CancelledError:  # the caller's; the directory is gone all the same
            self._uses.pop(directory, None)
            raise
        self._uses.pop(directory, None)

    def _stack(self, image: Image, userns: Path | None) -> Stack:
        """Layer directories from the top down; one that hides all below is the last.

        overlayfs does not honour an opaque mark on the root of a layer (there it has nothing to
        compare with), so the layers below such a one are left out of the mount instead.
        """
        lowers: list[str] = []
        for chain in reversed(image.layers):
            layer = self._layers.get(chain)
            if layer is None:
                raise RuntimeFailure(
                    f"layer {chain} of image {image.id} is missing: pull the image again"
                )
            lowers.append(str(self._layers.path(layer)))
            if layer.opaque:
                break
        return Stack(image.id, lowers or [str(self._empty)], userns)


def _mount_name(image_id: str, key: str) -> str:
    """Short and safe whatever the key has in it."""
    return hashlib.sha256(f"{image_id} {key}".encode()).hexdigest()[:32]
