"""The mounts of a container: what is mounted, and what ContainerStatus says of it.

A path on a dead network mount blocks whoever looks at it, for ever and beyond SIGKILL: stat(2)
waits for the server in state D. So a process with a deadline goes there, never the daemon
(containerd #10828, #13867).
"""

import asyncio
import errno
import functools
import os
import stat
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from berth.base.errors import DeadlineExceeded, InvalidArgument, NotFound, RuntimeFailure
from berth.linux import files, processes
from berth.linux import mounts as mount_table
from berth.linux.mounts import MountPoint
from cri_shim.context import Context
from cri_shim.model.container import MountSpec, MountStatus
from cri_shim.model.ids import ContainerId
from cri_shim.oci.facts import ResolvedMount

KEPT_FLAGS = frozenset({"ro", "nosuid", "nodev", "noexec"})

HANGING = (
    "nfs", "cifs", "smb", "fuse", "ceph", "9p", "afs", "glusterfs", "lustre", "beegfs", "autofs",
)  # fmt: skip
"""Beginnings of the types of file systems whose server may be gone; others return at once."""

_LINKS = 40
"""As many links as the kernel follows in one path."""
_SAFE_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

MountImage = Callable[[str], Awaitable[Path]]
"""Mounts an image, by its id, for the container in question."""


@dataclass(frozen=True, slots=True)
class MountTable:
    """The mount table at one moment: its text, and where a look may hang."""

    text: str
    hanging: frozenset[str] = field(default=frozenset())

    @classmethod
    async def read(cls) -> "MountTable":
        text = await asyncio.to_thread(files.read_text, mount_table.MOUNTINFO) or ""
        risky = (line for line in text.splitlines() if _may_hang(line))
        return cls(text, frozenset(point.target for point in mount_table.parse("\n".join(risky))))


def _may_hang(line: str) -> bool:
    return line.partition(" - ")[2].startswith(HANGING)


@dataclass(frozen=True, slots=True)
class Mounted:
    resolved: tuple[ResolvedMount, ...]
    statuses: tuple[MountStatus, ...]


def images(ctx: Context, specs: Sequence[MountSpec]) -> tuple[str, ...]:
    """Ids of the images that `resolve` will mount. Known beforehand, so that a create that fails
    half-way leaves none mounted.
    """
    found = (ctx.images.get(spec.image) for spec in specs if spec.image)
    return tuple(sorted({image.id for image in found if image is not None}))


async def resolve(
    ctx: Context, id_: ContainerId, specs: Sequence[MountSpec], userns: Path | None
) -> Mounted:
    """Sources in the order of `specs`; an error names the mount and what is wrong with it.

    Images are mounted with the ids of the pod's user namespace, pinned at `userns`.
    """
    if not specs:
        return Mounted((), ())
    # Once for all mounts: on a crowded node the table has thousands of lines, and the kernel holds
    # the mount lock while it writes them.
    table = await MountTable.read()
    mount = functools.partial(ctx.images.mount_image, key=id_, userns=userns)
    found = [await _resolve_one(ctx, mount, spec, i, table) for i, spec in enumerate(specs)]
    return Mounted(tuple(r for r, _ in found), tuple(s for _, s in found))


async def _resolve_one(
    ctx: Context, mount: MountImage, spec: MountSpec, index: int, table: MountTable
) -> tuple[ResolvedMount, MountStatus]:
    where = f"config.mounts[{index}]"
    if spec.image:
        source, image_id = await _image_source(ctx, mount, spec, where)
        return ResolvedMount(spec, source, frozenset({"ro"})), MountStatus(spec, image_id)
    timeout = ctx.settings.mount_timeout
    source, point = await find_source(spec.host_path, where, table, timeout)
    # A bind mount is made with the flags of the mount it is taken from, and in a user namespace
    # none of these may be dropped from it: the kernel locks them (mount_namespaces(7)).
    flags = frozenset(point.options) & KEPT_FLAGS
    propagation = "shared" if point.shared else "slave" if point.slave else "private"
    return ResolvedMount(spec, source, flags, propagation), MountStatus(spec)


async def _image_source(
    ctx: Context, mount: MountImage, spec: MountSpec, where: str
) -> tuple[str, str]:
    """Where the image is mounted, sub path included; errors begin with ImageVolumeMountFailed."""
    image = ctx.images.get(spec.image)
    if image is None:
        raise NotFound(
            f"ImageVolumeMountFailed: {where}: image {spec.image!r} is not on this node: pull it"
        )
    try:
        root = await mount(image.id)
    except RuntimeFailure as error:
        raise RuntimeFailure(f"ImageVolumeMountFailed: {where}: {error}") from error
    if not spec.image_sub_path:
        return str(root), image.id
    return str(await asyncio.to_thread(_sub_path, root, spec.image_sub_path, where)), image.id


def _sub_path(root: Path, sub_path: str, where: str) -> Path:
    if sub_path.startswith("/") or ".." in sub_path.split("/"):
        raise InvalidArgument(
            f"ImageVolumeMountFailed: {where}.image_sub_path {sub_path!r} must be a relative path "
            "without .."
        )
    # An image may be hostile: its links are followed inside of it only. Nobody writes below a
    # read-only mount, so the path stays what was found here.
    try:
        path = files.safe_join(root, sub_path)
    except OSError as error:
        raise InvalidArgument(
            f"ImageVolumeMountFailed: {where}.image_sub_path {sub_path!r}: {error.strerror}"
        ) from error
    if not path.is_dir():
        raise NotFound(
            f"ImageVolumeMountFailed: {where}.image_sub_path {sub_path!r} is not a directory of "
            "the image"
        )
    return path


async def find_source(
    path: str, where: str, table: MountTable, timeout: float
) -> tuple[str, MountPoint]:
    """The path without symlinks, and the mount that it lies on.

    `where` names the field for errors: InvalidArgument, NotFound, and DeadlineExceeded if its file
    system does not respond within `timeout` seconds.
    """
    if not path.startswith("/"):
        raise InvalidArgument(f"{where}.host_path {path!r} is not absolute")
    try:
        found = await asyncio.to_thread(_look_beside, path, table)
        if found is not None:
            return found
        source = await _look_from_outside(path, where, timeout)
    except FileNotFoundError:
        raise NotFound(
            f"{where}: host path {path!r} does not exist: create it, or correct the volume"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"{where}: host path {path!r}: {error.strerror}") from error
    return source, mount_table.mount_by_name(source, mount_table.parse(table.text))


def _look_beside(path: str, table: MountTable) -> tuple[str, MountPoint] | None:
    source = resolve_beside(path, table.hanging)
    return None if source is None else (source, mount_table.mount_of(source, table.text))


def resolve_beside(path: str, hanging: Iterable[str]) -> str | None:
    """The path without symlinks; None where the way leads into one of the `hanging` mounts.

    Nothing at or below those is looked at. OSError for a path that there is not.
    """
    # Not realpath(3): it looks at every part, that at which a dead server is mounted included.
    # lstat(2) of a mount point already asks its file system, so the table is asked first.
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


async def _look_from_outside(path: str, where: str, timeout: float) -> str:
    # A process and not a thread: one in state D cannot be ended, and threads of the pool would run
    # out. What stays behind here is a process that the kernel ends with its mount.
    argv = ["realpath", "-ez", "--", path]
    try:
        result = await processes.run(argv, timeout=timeout, env=_SAFE_ENVIRONMENT)
    except processes.ProcessTimeout:
        raise DeadlineExceeded(
            f"{where}: host path {path!r} did not answer within {timeout:g} s (stage: mounts): "
            "its file system hangs; look at its server, or unmount it"
        ) from None
    if result.code == 0:
        return os.fsdecode(result.stdout.rstrip(b"\0"))
    said = os.fsdecode(result.stderr).strip().rpartition(": ")[2]
    if said == os.strerror(errno.ENOENT):
        raise FileNotFoundError(path)
    raise OSError(errno.EIO, said or f"realpath ended with exit code {result.code}", path)
