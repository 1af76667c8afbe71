"""Mounts: read from the kernel's table, and made, changed and taken away.

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
    NOATIME = 1024
    BIND = 4096
    REC = 16384
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21


class Attribute(IntFlag):
    """MOUNT_ATTR_* of mount_setattr(2)."""

    RDONLY = 0x01
    NOSUID = 0x02
    NODEV = 0x04
    NOEXEC = 0x08
    IDMAP = 0x100000


NO_FLAGS = Flag(0)
NO_ATTRIBUTES = Attribute(0)


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A line of /proc/<pid>/mountinfo (proc_pid_mountinfo(5)).

    `root` is the directory within the filesystem that is seen at `target`; `propagation` has words
    such as `shared:3` and `master:1`, none where private.
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
        return any(word.startswith("shared:") for word in self.propagation)

    @property
    def slave(self) -> bool:
        return any(word.startswith("master:") for word in self.propagation)

    @property
    def readonly(self) -> bool:
        return "ro" in self.options


def parse(mountinfo: str) -> list[MountPoint]:
    """The text of a mountinfo file as values, in its order (a mount after its parent)."""
    return [_parse_line(line) for line in mountinfo.split("\n") if line]


def _parse_line(line: str) -> MountPoint:
    words = line.split(" ")
    dash = words.index("-", 6)
    fstype, source, options = words[dash + 1 : dash + 4]
    return MountPoint(
        id=int(words[0]),
        parent=int(words[1]),
        device=words[2],
        root=_unescape(words[3]),
        target=_unescape(words[4]),
        options=frozenset(words[5].split(",")),
        propagation=tuple(words[6:dash]),
        fstype=fstype,
        source=_unescape(source),
        super_options=tuple(options.split(",")),
    )


def _unescape(word: str) -> str:
    """Blanks, tabs, newlines, # and backslashes are written in octal, as in `\\040`."""
    if "\\" not in word:
        return word
    first, *rest = word.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def table() -> list[MountPoint]:
    """All mounts of our mount namespace."""
    return parse(read_text(MOUNTINFO) or "")


def mount_of(path: AnyPath, mountinfo: str | None = None) -> MountPoint:
    """The mount on which the path lies (the path itself, where something is mounted there).

    `mountinfo` is the text of our mount table, for who has read it already. One line of it is
    parsed, so that a long table costs little.
    """
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
    """As `mount_of`, by names alone: nothing of the path itself is looked at.

    The path has no links; of mounts at one place the last one shows.
    """
    above = [p for p in points if path == p.target or path.startswith(p.target.rstrip("/") + "/")]
    if not above:
        raise OSError(errno.ENOENT, "lies on a mount outside of our tree", path)
    longest = max(len(point.target) for point in above)
    return [point for point in above if len(point.target) == longest][-1]


def mounts_below(path: AnyPath) -> list[str]:
    """Targets strictly below the path, in the order they were mounted; stacked ones repeat."""
    start = os.fsdecode(path).rstrip("/") + "/"
    return [point.target for point in table() if point.target.startswith(start)]


def bind(source: AnyPath, target: AnyPath, recursive: bool = False) -> None:
    """Show `source` at `target` too; `recursive` with the mounts below it."""
    flags = Flag.BIND | (Flag.REC if recursive else 0)
    try:
        syscalls.mount(os.fsdecode(source), target, None, flags, "")
    except OSError as error:
        raise _from(error, source, target) from None


def _from(error: OSError, source: AnyPath, target: AnyPath) -> OSError:
    return OSError(error.errno, error.strerror, os.fsdecode(source), None, os.fsdecode(target))


def remount(target: AnyPath, flags: Flag, data: str = "") -> None:
    """Change a mount's own flags (with Flag.BIND), or those of its filesystem (without).

    The kernel takes exactly the flags given: name all that shall stay.
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
    """Mount a new tmpfs; `size` in bytes, 0 for the kernel's own (half of the memory).

    `label` is the SELinux label of all its files, for a kernel that has SELinux.
    """
    syscalls.mount(source, target, "tmpfs", flags, tmpfs_options(size, mode, label))


def tmpfs_options(size: int, mode: int, label: str) -> str:
    """A label has commas of its own, so it is quoted."""
    words = [f"mode={mode:o}", *([f"size={size}"] if size else [])]
    return ",".join(words + ([f'context="{label}"'] if label else []))


def filesystem(
    source: str, target: AnyPath, kind: str, flags: Flag = NO_FLAGS, data: str = ""
) -> None:
    """Mount a filesystem of any kind: proc, sysfs, cgroup, mqueue."""
    syscalls.mount(source, target, kind, flags, data)


def make_private(target: AnyPath, recursive: bool = False) -> None:
    """Events go neither in nor out."""
    _propagation(target, Flag.PRIVATE, recursive)


def make_slave(target: AnyPath, recursive: bool = False) -> None:
    """Events come in and none go out."""
    _propagation(target, Flag.SLAVE, recursive)


def make_shared(target: AnyPath, recursive: bool = False) -> None:
    """Events go in and out."""
    _propagation(target, Flag.SHARED, recursive)


def _propagation(target: AnyPath, flag: Flag, recursive: bool) -> None:
    syscalls.mount(None, target, None, flag | (Flag.REC if recursive else 0), "")


def clone_tree(path: AnyPath, recursive: bool = True) -> int:
    """A descriptor of a detached copy of the mount; the caller closes it."""
    flags = syscalls.OPEN_TREE_CLONE | (syscalls.AT_RECURSIVE if recursive else 0)
    return syscalls.open_tree(path, flags)


def attach(tree: int, target: AnyPath) -> None:
    """Put a detached mount at its place."""
    syscalls.move_mount(tree, target)


def set_attr(
    target: AnyPath | int,
    on: Attribute = NO_ATTRIBUTES,
    off: Attribute = NO_ATTRIBUTES,
    recursive: bool = False,
    userns_fd: int = 0,
) -> None:
    """Change attributes of a mount, or of a detached tree by its descriptor, at once or not.

    `recursive` covers all mounts below. Attribute.IDMAP needs a tree that nobody sees yet and a
    descriptor of the user namespace.
    """
    flags = syscalls.AT_RECURSIVE if recursive else 0
    if isinstance(target, int):
        directory, path = target, ""
        flags |= syscalls.AT_EMPTY_PATH
    else:
        directory, path = syscalls.AT_FDCWD, os.fsdecode(target)
    syscalls.mount_setattr(directory, path, flags, attr_set=on, attr_clr=off, userns_fd=userns_fd)


def unmount(target: AnyPath, lazy: bool = False) -> bool:
    """Take the topmost mount away; False where nothing was mounted. Links are not followed.

    `lazy` takes it out of sight now; the kernel finishes when the last user is gone.
    """
    flags = syscalls.UMOUNT_NOFOLLOW | (syscalls.MNT_DETACH if lazy else 0)
    try:
        syscalls.umount2(target, flags)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return False
        raise
    return True


def unmount_all(target: AnyPath) -> None:
    """Take away everything mounted at and below the path; what is busy, lazily."""
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


def exists_at(target: AnyPath, points: Iterable[MountPoint] | None = None) -> bool:
    """Whether something is mounted exactly there."""
    path = str(Path(os.fsdecode(target)))
    return any(point.target == path for point in (table() if points is None else points))
