"""Root file systems: overlay mounts over the layers of an image.

containers/<id>/rootfs    the mount point
containers/<id>/upper     what the container writes
containers/<id>/work      overlay's own
containers/<id>/lower     while it is mounted for a user namespace: its layers with mapped ids
containers/<id>/image     the image's id, so that use is known after a restart
mounts/<name>/rootfs      read-only mounts of images, for image volumes; `image` and `key`,
                          what it is for, beside it
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from berth.base.errors import AlreadyExists, RuntimeFailure
from berth.linux import mounts
from berth.linux.files import read_text, remove_tree
from cri_shim.images.snapshot import idmapped
from cri_shim.images.snapshot.layers import Layers
from cri_shim.model.ids import ImageId
from cri_shim.model.image import Image

_OPTIONS = ("index=off", "metacopy=off")


class Snapshots:
    """Mounts of images. The methods block for some system calls; removal of much data longer."""

    def __init__(self, root: Path, layers: Layers) -> None:
        self._containers = root / "containers"
        self._mounts = root / "mounts"
        self._empty = root / "empty"
        self._layers = layers
        for directory in (self._containers, self._mounts):
            # Passable: root of a user namespace is nobody here, and has to reach its root.
            directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._empty.mkdir(exist_ok=True, mode=0o755)
        self._images: dict[Path, ImageId] = {}

    def load(self) -> None:
        """Find what exists from before."""
        for directory in (*self._containers.iterdir(), *self._mounts.iterdir()):
            self._images[directory] = ImageId(read_text(directory / "image") or "")

    def containers(self) -> tuple[str, ...]:
        """Ids that have a snapshot, mounted or not."""
        return tuple(path.name for path in self._images if path.parent == self._containers)

    def users(self, image_id: ImageId) -> list[str]:
        """What needs this image: container ids, and what it is mounted for."""
        used = [path for path, image in self._images.items() if image == image_id]
        return [read_text(path / "key") or path.name for path in used]

    def rootfs(self, container_id: str) -> Path:
        return self._containers / container_id / "rootfs"

    def prepare(self, image: Image, container_id: str, userns: Path | None = None) -> Path:
        """Mount a new writable snapshot; nothing is left on an error.

        With `userns`, a pinned user namespace, its files belong to that namespace's ids.
        AlreadyExists where the container has one.
        """
        directory = self._containers / container_id
        with self._new_directory(directory, image):
            for name in ("upper", "work", "rootfs"):
                (directory / name).mkdir(mode=0o755)
            with self._seen_from(userns, self._lowers(image), directory, image) as lowers:
                self._inherit_root(lowers[0], directory / "upper")
                upper, work = str(directory / "upper"), str(directory / "work")
                self._overlay(image, lowers, upper, work, directory / "rootfs")
        return directory / "rootfs"

    def release(self, container_id: str) -> None:
        """Unmount and remove; missing is fine."""
        self._drop(self._containers / container_id)

    def mount_image(self, image: Image, key: str, userns: Path | None = None) -> Path:
        """A read-only mount of the image; the same key gives the same mount again.

        `userns` as for `prepare`.
        """
        directory = self._mounts / _mount_name(image.id, key)
        target = directory / "rootfs"
        if directory in self._images and target.is_mount():
            return target
        if directory in self._images or directory.exists():
            self._drop(directory)
        with self._new_directory(directory, image):
            target.mkdir(mode=0o755)
            (directory / "key").write_text(key)
            # Without an upper layer overlay wants two different lower ones: an empty one below.
            (directory / "below").mkdir(mode=0o755)
            layers = [*self._lowers(image), str(directory / "below")]
            with self._seen_from(userns, layers, directory, image) as lowers:
                self._overlay(image, lowers, None, None, target)
        return target

    def unmount_image(self, image_id: ImageId, key: str) -> None:
        self._drop(self._mounts / _mount_name(image_id, key))

    def written(self, container_id: str) -> Path:
        """The directory with what the container wrote, whiteouts and all."""
        return self._containers / container_id / "upper"

    def writable_usage(self, container_id: str) -> tuple[int, int]:
        """Bytes and inodes that the container wrote; (0, 0) where it has no snapshot. Blocks."""
        try:
            return _usage(str(self._containers / container_id / "upper"))
        except FileNotFoundError:
            return 0, 0

    @contextlib.contextmanager
    def _new_directory(self, directory: Path, image: Image) -> Iterator[None]:
        try:
            directory.mkdir(mode=0o711)
        except FileExistsError:
            raise AlreadyExists(
                f"{directory.name} has a snapshot already: remove the container, then create it"
            ) from None
        self._images[directory] = image.id
        try:
            (directory / "image").write_text(image.id)
            yield
        except BaseException:
            self._drop(directory)
            raise

    def _lowers(self, image: Image) -> list[str]:
        """Layer directories from the top down; one that hides all below is the last."""
        found: list[str] = []
        for chain in reversed(image.layers):
            layer = self._layers.get(chain)
            if layer is None:
                raise RuntimeFailure(
                    f"layer {chain} of image {image.id} is missing: pull the image again"
                )
            found.append(str(self._layers.path(layer)))
            if layer.opaque:
                break
        return found or [str(self._empty)]

    @contextlib.contextmanager
    def _seen_from(
        self, userns: Path | None, lowers: list[str], directory: Path, image: Image
    ) -> Iterator[list[str]]:
        """The layers with the ids that a user namespace wants, while the context lasts."""
        if userns is None:
            yield lowers
            return
        with contextlib.ExitStack() as stack:
            try:
                mapped = stack.enter_context(idmapped.idmapped(lowers, userns, directory))
            except OSError as error:
                raise RuntimeFailure(
                    f"image {image.id}: mapping the ids of its layers: {error.strerror}; pods with "
                    "user namespaces need Linux 5.19 and a filesystem with idmapped mounts, such "
                    "as ext4 or xfs, below the daemon's root directory"
                ) from error
            yield mapped

    def _inherit_root(self, top: str, upper: Path) -> None:
        """The root directory's mode and owner are those of the uppermost layer."""
        status = os.stat(top)
        os.chown(upper, status.st_uid, status.st_gid)
        upper.chmod(status.st_mode & 0o7777)

    def _overlay(
        self, image: Image, lowers: Sequence[str], upper: str | None, work: str | None, target: Path
    ) -> None:
        try:
            mounts.overlay(lowers, upper, work, str(target), options=_OPTIONS)
        except OSError as error:
            raise RuntimeFailure(
                f"image {image.id} cannot be mounted on {target}: {error.strerror}; "
                "see `cri-shim check` for what overlayfs needs of the host"
            ) from error

    def _drop(self, directory: Path) -> None:
        idmapped.drop(directory)
        while mounts.unmount(directory / "rootfs", lazy=True):
            pass
        remove_tree(directory)
        self._images.pop(directory, None)


def _mount_name(image_id: str, key: str) -> str:
    """Short and safe whatever the key has in it."""
    return hashlib.sha256(f"{image_id} {key}".encode()).hexdigest()[:32]


def _usage(path: str) -> tuple[int, int]:
    """Allocated bytes and inodes of a tree; what goes away meanwhile does not count."""
    size = inodes = 0
    with os.scandir(path) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                size += status.st_blocks * 512
                inodes += 1
                if entry.is_dir(follow_symlinks=False):
                    below = _usage(entry.path)
                    size, inodes = size + below[0], inodes + below[1]
            except FileNotFoundError:
                continue
    return size, inodes
