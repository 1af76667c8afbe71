"""Mounts: read from the kernel's table, made, changed and unmounted.

Every function raises OSError with errno and path.
"""

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

from berth.linux import syscalls
from berth.linux.files import read_text
from berth.linux.overlayfs import overlay as overlay
from berth.linux.syscalls import AnyPath

MOUNTINFO = "/proc/self/mountinfo"


class Flag(IntFlag):
    """MS_* of mount(2)."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    BIND = 4096
    PRIVATE = 1 << 18


class Attribute(IntFlag):
    """MOUNT_ATTR_* of mount_setattr(2)."""

    RDONLY = 0x01
    NOSUID = 0x02
    NODEV = 0x04
    NOEXEC = 0x08
    IDMAP = 0x100000


NO_ATTRIBUTES = Attribute(0)


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)).

    `root` is the directory within the filesystem that is seen at `target`; `propagation` has tags
    such as `shared:3` and `master:1`, none where private (mount_namespaces(7)).
    """

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: frozenset[str]
    propagation: tuple[str, ...]
    fstype: str
    source: str
    super_options: tuple[str, ...]

    @property
    def shared(self) -> bool:
        return any(tag.startswith("shared:") for tag in self.propagation)

    @property
    def slave(self) -> bool:
        return any(tag.startswith("master:") for tag in self.propagation)

    @property
    def readonly(self) -> bool:
        return "ro" in self.options


def parse(mountinfo: str) -> list[MountPoint]:
    """The text of a mountinfo file as values, in its order (a mount after its parent)."""
    return [_parse_line(line) for line in mountinfo.split("\n") if line]


def _parse_line(line: str) -> MountPoint:
    # Split at single blanks: a source may be empty, and stands there as nothing between two.
    fields = line.split(" ")
    # The propagation tags before the dash are of any number, later kernels may add kinds.
    dash = fields.index("-", 6)
    fstype, source, options = fields[dash + 1 : dash + 4]
    return MountPoint(
        id=int(fields[0]),
        parent=int(fields[1]),
        device=fields[2],
        root=_unescape(fields[3]),
        target=_unescape(fields[4]),
        options=frozenset(fields[5].split(",")),
        propagation=tuple(fields[6:dash]),
        fstype=fstype,
        source=_unescape(source),
        super_options=tuple(options.split(",")),
    )


def _unescape(text: str) -> str:
    """Blanks, tabs, newlines, # and backslashes are written in octal, as in `\\040`."""
    if "\\" not in text:
        return text
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def table() -> list[MountPoint]:
    """All mounts of our mount namespace."""
    return parse(read_text(MOUNTINFO) or "")


def mount_of(path: AnyPath, mountinfo: str | None = None) -> MountPoint:
    """The mount on which the path lies (the path itself, where something is mounted there).

    `mountinfo` is the text of our mount table, where the caller has read it already.
    """
    # By the id that the kernel gives for an open descriptor, and not by comparing names: a later
    # mount may hide the name. One line of the table is parsed, for a node's has thousands.
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        info = read_text(f"/proc/self/fdinfo/{fd}") or ""
    finally:
        os.close(fd)
    number = next(int(line.split()[1]) for line in info.splitlines() if line.startswith("mnt_id"))
    text = "\n" + (mountinfo if mountinfo is not None else read_text(MOUNTINFO) or "")
    begin = text.find(f"\n{number} ") + 1
    if not begin:
        raise OSError(errno.ENOENT, "lies on a mount outside of our tree", os.fsdecode(path))
    return _parse_line(text[begin : text.index("\n", begin)])


def mount_by_name(path: str, points: Sequence[MountPoint]) -> MountPoint:
    """As `mount_of`, by names alone, for a path that must not be opened (its server may hang).

    The path must have no symbolic links.
    """
    above = [p for p in points if path == p.target or path.startswith(p.target.rstrip("/") + "/")]
    if not above:
        raise OSError(errno.ENOENT, "lies on a mount outside of our tree", path)
    longest = max(len(point.target) for point in above)
    # Of mounts stacked on one place the last one is seen.
    return [point for point in above if len(point.target) == longest][-1]


def mounts_below(path: AnyPath) -> list[str]:
    """Targets strictly below the path, parents first; one that is mounted on twice comes twice."""
    start = os.fsdecode(path).rstrip("/") + "/"
    return [point.target for point in table() if point.target.startswith(start)]


def bind(source: AnyPath, target: AnyPath) -> None:
    """Show `source` at `target` too, without the mounts below it."""
    try:
        # mount(2) ignores MS_RDONLY and the like here: `remount` sets them afterwards.
        syscalls.mount(os.fsdecode(source), target, None, Flag.BIND, "")
    except OSError as error:
        raise _from(error, source, target) from None


def _from(error: OSError, source: AnyPath, target: AnyPath) -> OSError:
    return OSError(error.errno, error.strerror, os.fsdecode(source), None, os.fsdecode(target))


def remount(target: AnyPath, flags: Flag, data: str = "") -> None:
    """Change a mount's own flags (with Flag.BIND), or those of its filesystem (without).

    The flags given replace those it has: name all that shall stay.
    """
    syscalls.mount(None, target, None, flags | Flag.REMOUNT, data)


def tmpfs(
    target: AnyPath,
    size: int,
    mode: int = 0o755,
    flags: Flag = Flag.NOSUID | Flag.NODEV | Flag.NOEXEC,
    source: str = "tmpfs",
    label: str = "",
) -> None:
    """Mount a new tmpfs; `size` in bytes, 0 for the kernel's default (half of the memory).

    `label` is the SELinux label of all its files, for a kernel that has SELinux.
    """
    syscalls.mount(source, target, "tmpfs", flags, tmpfs_options(size, mode, label))


def tmpfs_options(size: int, mode: int, label: str) -> str:
    """The option text of a tmpfs."""
    options = [f"mode={mode:o}", *([f"size={size}"] if size else [])]
    # A label has commas of its own (its categories, c1,c2): it is quoted.
    return ",".join(options + ([f'context="{label}"'] if label else []))


def make_private(target: AnyPath) -> None:
    """Mounts made here appear nowhere else, and those made elsewhere not here."""
    syscalls.mount(None, target, None, Flag.PRIVATE, "")


def clone_tree(path: AnyPath, recursive: bool = True) -> int:
    """A descriptor of a detached copy of the mount; the caller closes it.

    The copy is in no mount namespace: nobody sees it before `attach`, and a kill -9 or a close
    before that unmounts it.
    """
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    return syscalls.open_tree(path, flags)


def attach(tree: int, target: AnyPath) -> None:
    """Mount a detached tree at the target, where it stays when the descriptor is closed."""
    syscalls.move_mount(tree, target)


def set_attr(
    target: AnyPath | int,
    on: Attribute = NO_ATTRIBUTES,
    off: Attribute = NO_ATTRIBUTES,
    recursive: bool = False,
    userns_fd: int = 0,
) -> None:
    """Change attributes of a mount, or of a detached tree by its descriptor: all of them or none.

    `recursive` covers all mounts below. Attribute.IDMAP needs a descriptor of the user namespace
    that maps the ids.
    """
    # The kernel maps ids only of a mount that is still detached and was never mapped (EPERM else),
    # and only where the filesystem can (EINVAL else): tmpfs since Linux 6.3, as a lower layer of
    # overlay since 5.19, NFS and most FUSE not.
    flags = syscalls.AT_RECURSIVE if recursive else 0
    if isinstance(target, int):
        directory, path = target, ""
        flags |= syscalls.AT_EMPTY_PATH
    else:
        directory, path = syscalls.AT_FDCWD, os.fsdecode(target)
    syscalls.mount_setattr(directory, path, flags, attr_set=on, attr_clr=off, userns_fd=userns_fd)


def unmount(target: AnyPath, lazy: bool = False) -> bool:
    """Unmount the topmost mount at the target; False where nothing was mounted.

    `lazy` (MNT_DETACH) removes it from the tree now, busy or with a dead server; the kernel
    finishes when the last user is gone. Without it a busy mount is EBUSY.
    """
    # UMOUNT_NOFOLLOW: a container may have put a link where our mount point was.
    flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0)
    try:
        syscalls.umount2(target, flags)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):  # EINVAL: no mount point
            return False
        raise
    return True


def exists_at(target: AnyPath, points: Iterable[MountPoint] | None = None) -> bool:
    """Whether something is mounted exactly there."""
    path = str(Path(os.fsdecode(target)))
    return any(point.target == path for point in (table() if points is None else points))
