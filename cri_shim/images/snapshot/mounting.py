"""One directory with an overlay mount in it: made, measured, taken away. Blocking, for threads.

    rootfs    the mount point
    upper     what the container writes          (of a container)
    work      overlay's own                      (of a container)
    below     an empty lowest layer              (of an image volume)
    lower     while it is mounted for a user namespace: its layers with mapped ids
    image     the image's id, and `key` what an image volume is for: so that use is known after a
              restart

The functions share nothing but the disk, so any number of them may run at a time, each on a
directory of its own. What one of them leaves half-made, by an error or by kill -9, `drop` removes.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth.base.errors import AlreadyExists, RuntimeFailure
from berth.linux import mounts
from berth.linux.files import remove_tree
from cri_shim.images.snapshot import idmapped
from cri_shim.model.ids import ImageId

# The host's defaults for these are build options of its kernel (OVERLAY_FS_INDEX, _METACOPY).
# index=on ties an upper layer to the file handles of its lower ones, and the mount fails with
# ESTALE when that check does not hold, for instance after the store was copied to another disk.
# metacopy=on would leave files without their data in `upper`, which `written` and a checkpoint
# take for the files themselves.
_OPTIONS = ("index=off", "metacopy=off")


@dataclass(frozen=True, slots=True)
class Stack:
    """What to mount: an image's layer directories, uppermost first, as `userns` shall see them."""

    image: ImageId
    lowers: Sequence[str]
    userns: Path | None = None


def make_writable(directory: Path, stack: Stack) -> None:
    """Make the directory and mount a writable root in it; AlreadyExists where it is there."""
    _make(directory, stack.image)
    for name in ("upper", "work", "rootfs"):
        (directory / name).mkdir(mode=0o755)
    with _seen_from(stack, directory) as lowers:
        _inherit_root(lowers[0], directory / "upper")
        upper, work = str(directory / "upper"), str(directory / "work")
        _overlay(stack.image, lowers, upper, work, directory / "rootfs")


def make_read_only(directory: Path, stack: Stack, key: str) -> None:
    """Make the directory and mount the image in it, read-only, for what `key` names."""
    _make(directory, stack.image)
    (directory / "rootfs").mkdir(mode=0o755)
    (directory / "key").write_text(key)
    # Without an upper layer overlay wants at least two lower ones, and refuses the same one twice:
    # an image of one layer gets an empty one below.
    (directory / "below").mkdir(mode=0o755)
    below = Stack(stack.image, [*stack.lowers, str(directory / "below")], stack.userns)
    with _seen_from(below, directory) as lowers:
        _overlay(stack.image, lowers, None, None, directory / "rootfs")


def drop(directory: Path) -> None:
    """Unmount and remove; missing is fine, as is what was made in part."""
    idmapped.drop(directory)
    # Lazy: a process that leaked a descriptor into the root (a debugger, a log reader) would make
    # it EBUSY for ever. Its files go when it lets go of them. In a loop, for what somebody else
    # mounted over the root hides ours.
    while mounts.unmount(directory / "rootfs", lazy=True):
        pass
    # Only now: remove_tree refuses to enter a mount, so it could never empty a shared layer.
    remove_tree(directory)


def _make(directory: Path, image: ImageId) -> None:
    try:
        # 0711: root of a user namespace is "others" here, and has to get through to its root.
        directory.mkdir(mode=0o711)
    except FileExistsError:
        raise AlreadyExists(
            f"{directory.name} has a snapshot already: remove the container, then create it"
        ) from None
    (directory / "image").write_text(image)


@contextlib.contextmanager
def _seen_from(stack: Stack, directory: Path) -> Iterator[Sequence[str]]:
    """The layers with the ids that the user namespace wants, while the context lasts."""
    if stack.userns is None:
        yield stack.lowers
        return
    with contextlib.ExitStack() as undo:
        try:
            mapped = undo.enter_context(idmapped.idmapped(stack.lowers, stack.userns, directory))
        except OSError as error:
            raise RuntimeFailure(
                f"image {stack.image}: mapping the ids of its layers: {error.strerror}; pods with "
                "user namespaces need Linux 5.19 and a filesystem with idmapped mounts, such "
                "as ext4 or xfs, below the daemon's root directory"
            ) from error
        yield mapped


def _inherit_root(top: str, upper: Path) -> None:
    """The root directory's mode and owner are those of the uppermost layer.

    A merged directory shows the attributes of its uppermost part, and the root's is `upper`.
    """
    status = os.stat(top)
    os.chown(upper, status.st_uid, status.st_gid)
    upper.chmod(status.st_mode & 0o7777)


def _overlay(
    image: ImageId, lowers: Sequence[str], upper: str | None, work: str | None, target: Path
) -> None:
    try:
        mounts.overlay(lowers, upper, work, str(target), options=_OPTIONS)
    except OSError as error:
        raise RuntimeFailure(
            f"image {image} cannot be mounted on {target}: {error.strerror}; "
            "see `cri-shim check` for what overlayfs needs of the host"
        ) from error
