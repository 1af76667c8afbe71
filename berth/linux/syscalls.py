"""System calls that Python has no wrapper for, with errno and path in every error.

The calls that came after Linux 5.0 have one number on all architectures (asm-generic/unistd.h)
and no wrapper in older libcs: they go by number. The older calls go through libc's wrappers.
ctypes releases the GIL during each call, so a mount that hangs stops its own thread alone.
"""

import ctypes
import os
from enum import IntEnum, IntFlag

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

AnyPath = str | bytes | os.PathLike[str]

# The mount API since Linux 5.2 makes a mount step by step on descriptors, and shows it at the end:
#   fsopen -> fsconfig(key, value)... -> fsconfig(CMD_CREATE) -> fsmount -> move_mount
#   open_tree(OPEN_TREE_CLONE): a copy of an existing mount -> mount_setattr -> move_mount
# Until move_mount nobody else sees it, and closing the descriptor is the whole undo.

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
UMOUNT_NOFOLLOW = 8
MNT_DETACH = 2


class Number(IntEnum):
    """Numbers since Linux 5.1: the same on every architecture Python 3.11 runs on."""

    OPEN_TREE = 428
    MOVE_MOUNT = 429
    FSOPEN = 430
    FSCONFIG = 431
    FSMOUNT = 432
    OPENAT2 = 437
    MOUNT_SETATTR = 442


class Resolve(IntFlag):
    """How openat2(2) resolves a path: RESOLVE_*.

    NO_XDEV: no step into another mount (EXDEV). NO_MAGICLINKS: not through links such as
    /proc/self/fd/3, which jump out of any root (ELOOP). NO_SYMLINKS: through no link at all, those
    included. BENEATH: `..` and absolute links that leave the directory are refused (EXDEV).
    IN_ROOT: the directory is `/`, as after chroot(2), but without its races.
    """

    NO_XDEV = 0x01
    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


class Config(IntEnum):
    """Commands of fsconfig(2)."""

    SET_FLAG = 0
    SET_STRING = 1
    CMD_CREATE = 6


class Namespace(IntFlag):
    """CLONE_NEW* of unshare(2): those that one thread alone can change."""

    UTS = 0x04000000
    IPC = 0x08000000
    NET = 0x40000000


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _checked(result: int, path: AnyPath | None) -> int:
    """The result, or OSError of the right subclass with errno and path."""
    if result >= 0:
        return result
    # libc's errno itself may have changed since: ctypes saved it for this thread (use_errno).
    number = ctypes.get_errno()
    shown = None if path is None else os.fsdecode(path)
    raise OSError(number, os.strerror(number), shown)


def _syscall(number: Number, path: AnyPath | None, *args: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *args), path)


def _int(value: int) -> ctypes.c_long:
    """An argument of full width: ctypes passes a bare int to the variadic syscall(2) as 32 bits."""
    return ctypes.c_long(value)


def openat2(directory: int, path: AnyPath, flags: int, mode: int, resolve: Resolve) -> int:
    """openat2(2), close-on-exec."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    arguments = (
        _int(directory),
        ctypes.c_char_p(os.fsencode(path)),
        ctypes.byref(how),
        _int(ctypes.sizeof(how)),
    )
    # EAGAIN: a rename or mount ran at the same time, so that the kernel cannot be sure that `..`
    # stayed inside. A container that renames all the time must not make it loop for ever.
    for _ in range(32):
        try:
            return _syscall(Number.OPENAT2, path, *arguments)
        except BlockingIOError:
            continue
    return _syscall(Number.OPENAT2, path, *arguments)


def open_tree(path: AnyPath, flags: int, directory: int = AT_FDCWD) -> int:
    """open_tree(2): a handle on a mount; with OPEN_TREE_CLONE on a detached copy of it."""
    raw = ctypes.c_char_p(os.fsencode(path))
    return _syscall(Number.OPEN_TREE, path, _int(directory), raw, _int(flags | OPEN_TREE_CLOEXEC))


def move_mount(source: int, target: AnyPath) -> None:
    """move_mount(2): attach the detached mount that the descriptor `source` refers to."""
    raw = ctypes.c_char_p(os.fsencode(target))
    empty = ctypes.c_char_p(b"")
    flags = _int(MOVE_MOUNT_F_EMPTY_PATH)
    _syscall(Number.MOVE_MOUNT, target, _int(source), empty, _int(AT_FDCWD), raw, flags)


def fsopen(kind: str) -> int:
    """fsopen(2): a new filesystem context."""
    return _syscall(Number.FSOPEN, kind, ctypes.c_char_p(kind.encode()), _int(FSOPEN_CLOEXEC))


def fsconfig(context: int, command: Config, key: str | None, value: str | None) -> None:
    """fsconfig(2); a value of more than 255 bytes is EINVAL."""
    raw_key = ctypes.c_char_p(None if key is None else key.encode())
    raw_value = ctypes.c_char_p(None if value is None else os.fsencode(value))
    shown = value if value is not None else key
    _syscall(Number.FSCONFIG, shown, _int(context), _int(command), raw_key, raw_value, _int(0))


def fsmount(context: int) -> int:
    """fsmount(2): the detached mount of a created context."""
    return _syscall(Number.FSMOUNT, None, _int(context), _int(FSMOUNT_CLOEXEC), _int(0))


def mount_setattr(
    directory: int,
    path: AnyPath,
    flags: int,
    *,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2), Linux 5.12."""
    attributes = _MountAttr(attr_set, attr_clr, propagation, userns_fd)
    raw = ctypes.c_char_p(os.fsencode(path))
    size = _int(ctypes.sizeof(attributes))
    pointer = ctypes.byref(attributes)
    _syscall(Number.MOUNT_SETATTR, path, _int(directory), raw, _int(flags), pointer, size)


def mount(source: str | None, target: AnyPath, kind: str | None, flags: int, data: str) -> None:
    """mount(2)."""
    # None is a NULL pointer: a remount or change of propagation has no source and no kind.
    raw_source = None if source is None else os.fsencode(source)
    raw_kind = None if kind is None else kind.encode()
    raw_data = os.fsencode(data) if data else None
    arguments = (raw_source, os.fsencode(target), raw_kind, ctypes.c_ulong(flags), raw_data)
    _checked(_libc.mount(*arguments), target)


def umount2(target: AnyPath, flags: int) -> None:
    """umount2(2)."""
    _checked(_libc.umount2(ctypes.c_char_p(os.fsencode(target)), flags), target)


def unshare(flags: Namespace) -> None:
    """unshare(2) of the calling thread alone."""
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare {flags.name}")


def setns(fd: int, flags: int = 0) -> None:
    """setns(2) of the calling thread alone; `flags` 0 takes any kind.

    EINVAL for a user namespace, which only a process of one thread may enter, and for a mount
    namespace, as Python's threads share root and working directory (CLONE_FS).
    """
    _checked(_libc.setns(fd, flags), f"namespace of descriptor {fd}")


# By machine: the call is older than the numbers that all architectures share.
_SETRESUID = {"x86_64": 117, "aarch64": 147, "riscv64": 147, "ppc64le": 164, "s390x": 208}


def set_thread_euid(uid: int) -> None:
    """setresuid(2) of the effective user of the calling thread alone.

    By number: to the kernel each thread has a user of its own, and libc's wrapper makes all other
    threads change too, as POSIX wants it.
    """
    keep = _int(-1)
    number = ctypes.c_long(_SETRESUID[os.uname().machine])
    _checked(_libc.syscall(number, keep, _int(uid), keep), f"user {uid}")
