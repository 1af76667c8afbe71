"""SELinux: whether this host enforces labels, its contexts for containers, labels of trees."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from berth.linux import mounts
from berth.linux.files import read_text
from berth.linux.mounts import MountPoint

ATTRIBUTE = "security.selinux"
"""Extended attribute with a file's label, ended by a NUL byte (xattr(7))."""
ROOT = Path("/sys/fs/selinux")

SYSTEM = frozenset({
    "/", "/bin", "/boot", "/dev", "/etc", "/etc/pki", "/home", "/lib", "/lib64", "/media", "/mnt",
    "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/usr/bin",
    "/usr/lib", "/usr/lib64", "/usr/sbin", "/usr/share", "/var", "/var/lib", "/var/log", "/var/run",
})  # fmt: skip
"""Directories that a pod's volume must not relabel: the host's services would lose them."""
KERNEL = ("/dev/", "/proc/", "/sys/")
"""Below these the kernel gives labels, and nothing is a volume."""

_CONFIG = "etc/selinux/config"
_SHARED = "usr/share/containers/selinux/contexts"
_DEPTH = 256
"""Levels of directories that are followed; each has a descriptor open and a frame of the stack."""


@dataclass(frozen=True, slots=True)
class Contexts:
    """The policy's labels of containers' processes and files (`user:role:type[:level]`)."""

    process: str
    file: str


def enabled(root: Path = ROOT, points: Iterable[MountPoint] | None = None) -> bool:
    """Whether the kernel has a policy: selinuxfs is mounted, permissive or enforcing."""
    # A file of that name is no proof, only the kernel's own filesystem is.
    if not (root / "enforce").is_file():
        return False
    found = mounts.table() if points is None else points
    return any(p.target == str(root) and p.fstype == "selinuxfs" for p in found)


def contexts(root: Path = Path("/")) -> Contexts | None:
    """What the policy below `root` says of containers; None where it says nothing of them.

    The file that container-selinux shares comes first, then that of the policy in use
    (selinux_lxc_contexts_path(3)), as opencontainers/selinux has it for podman and CRI-O.
    """
    policy = _assignments(root / _CONFIG).get("SELINUXTYPE") or "targeted"
    for path in (root / _SHARED, root / "etc/selinux" / policy / "contexts/lxc_contexts"):
        found = _assignments(path)
        if found.get("process") and found.get("file"):
            return Contexts(found["process"], found["file"])
    return None


def _assignments(path: Path) -> dict[str, str]:
    """Lines `key = "value"`; comments and anything else are skipped."""
    lines = (line.split("#", 1)[0] for line in (read_text(path) or "").splitlines())
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip().strip('"') for key, is_one, value in pairs if is_one}


def set_label(path: str, label: str, attribute: str = ATTRIBUTE) -> bool:
    """Give a file or a tree its label, links themselves and not their targets; True if it was set.

    A tree whose top has the label already is left alone: the top is labelled last, so after a
    kill -9 in the middle the whole is done again. On a filesystem without labels nothing is done.
    PermissionError for the host's own directories. OSError also for a tree nested deeper than any
    volume.
    """
    path = os.path.realpath(path)
    if path in SYSTEM or path.startswith(KERNEL):
        raise PermissionError(errno.EPERM, "a directory of the system keeps its label", path)
    value = label.encode() + b"\0"
    if _get(path, attribute) == value:
        return False
    if os.path.isdir(path):
        with _directory(path) as fd:
            _label_below(fd, value, attribute, _DEPTH)
    return _set(path, value, attribute)


def _label_below(fd: int, value: bytes, attribute: str, depth: int) -> None:
    """Label what is below the directory, by descriptors: a link swapped in leads nowhere."""
    if not depth:
        raise OSError(
            errno.ELOOP, "directories are nested too deep", os.readlink(f"/proc/self/fd/{fd}")
        )
    with os.scandir(fd) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
                with gone, _directory(entry.name, fd) as below:
                    _label_below(below, value, attribute, depth - 1)
            # setxattrat(2), by descriptor and name, came with Linux 6.13. Until then /proc leads
            # to the directory, and the call follows no link in the last step.
            with contextlib.suppress(FileNotFoundError):
                _set(f"/proc/self/fd/{fd}/{entry.name}", value, attribute)


@contextlib.contextmanager
def _directory(name: str, within: int | None = None) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=within)
    try:
        yield fd
    finally:
        os.close(fd)


def _get(path: str, attribute: str) -> bytes:
    try:
        return os.getxattr(path, attribute, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return b""
        raise


def _set(path: str, value: bytes, attribute: str) -> bool:
    try:
        os.setxattr(path, attribute, value, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # NFS without labels, vfat
            return False
        raise
    return True
