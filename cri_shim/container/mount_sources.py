"""Find the host path that a mount asks for, whatever file system it is on.

A path on a dead network mount blocks whoever looks at it, for ever and beyond SIGKILL. So a
process with a deadline goes there, never the daemon (containerd #10828, #13867).
"""

import asyncio
import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from berth.base.errors import DeadlineExceeded, InvalidArgument, NotFound
from berth.linux import files, mounts, processes
from berth.linux.mounts import MountPoint

HANGING = (
    "nfs", "cifs", "smb", "fuse", "ceph", "9p", "afs", "glusterfs", "lustre", "beegfs", "autofs",
)  # fmt: skip
"""Beginnings of the types of file systems whose server may be gone; others answer at once."""

_LINKS = 40
"""As many links as the kernel follows in one path."""
_SAFE_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


@dataclass(frozen=True, slots=True)
class Table:
    """The mount table at one moment: its text, and where a look may hang."""

    text: str
    hanging: frozenset[str] = field(default=frozenset())

    @classmethod
    async def read(cls) -> "Table":
        text = await asyncio.to_thread(files.read_text, mounts.MOUNTINFO) or ""
        risky = (line for line in text.splitlines() if _may_hang(line))
        return cls(text, frozenset(point.target for point in mounts.parse("\n".join(risky))))


def _may_hang(line: str) -> bool:
    return line.partition(" - ")[2].startswith(HANGING)


async def find(path: str, where: str, table: Table, patience: float) -> tuple[str, MountPoint]:
    """The path without symlinks, and the mount that it lies on.

    `where` names the field for errors: InvalidArgument, NotFound, and DeadlineExceeded if its file
    system does not answer for `patience` seconds.
    """
    if not path.startswith("/"):
        raise InvalidArgument(f"{where}.host_path {path!r} is not absolute")
    try:
        source = resolve_beside(path, table.hanging)
        if source is not None:
            return source, mounts.mount_of(source, table.text)
        source = await _look_from_outside(path, where, patience)
    except FileNotFoundError:
        raise NotFound(
            f"{where}: host path {path!r} does not exist: create it, or correct the volume"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"{where}: host path {path!r}: {error.strerror}") from error
    return source, mounts.mount_by_name(source, mounts.parse(table.text))


def resolve_beside(path: str, hanging: Iterable[str]) -> str | None:
    """The path without symlinks; None where the way leads into one of the `hanging` mounts.

    Nothing at or below those is looked at. OSError for a path that there is not.
    """
    done, links = "/", 0
    rest = path.split("/")[::-1]
    while rest:
        part = rest.pop()
        if part in ("", ".", ".."):
            done = os.path.dirname(done) if part == ".." else done
            continue
        here = os.path.join(done, part)
        if here in hanging:
            return None
        if not stat.S_ISLNK(os.lstat(here).st_mode):
            done = here
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        link = os.readlink(here)
        done = "/" if link.startswith("/") else done
        rest += link.split("/")[::-1]
    return done


async def _look_from_outside(path: str, where: str, patience: float) -> str:
    argv = ["realpath", "-ez", "--", path]
    try:
        result = await processes.run(argv, timeout=patience, env=_SAFE_ENVIRONMENT)
    except processes.ProcessTimeout:
        raise DeadlineExceeded(
            f"{where}: host path {path!r} did not answer within {patience:g} s (stage: mounts): "
            "its file system hangs; look at its server, or unmount it"
        ) from None
    if result.code == 0:
        return os.fsdecode(result.stdout.rstrip(b"\0"))
    said = os.fsdecode(result.stderr).strip().rpartition(": ")[2]
    if said == os.strerror(errno.ENOENT):
        raise FileNotFoundError(path)
    raise OSError(errno.EIO, said or f"realpath ended with exit code {result.code}", path)
