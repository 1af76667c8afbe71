"""The mounts of a container: what is mounted, and what ContainerStatus says of it."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth.base.errors import InvalidArgument, NotFound, RuntimeFailure
from berth.linux import files
from cri_shim.container import mount_sources
from cri_shim.context import Context
from cri_shim.model.container import MountSpec, MountStatus
from cri_shim.model.ids import ContainerId
from cri_shim.oci.facts import ResolvedMount

KEPT_FLAGS = frozenset({"ro", "nosuid", "nodev", "noexec"})

MountImage = Callable[[str], Awaitable[Path]]
"""Mounts an image, by its id, for the container in question."""


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
    table = await mount_sources.Table.read()
    mount = functools.partial(ctx.images.mount_image, key=id_, userns=userns)
    found = [await _resolve_one(ctx, mount, spec, i, table) for i, spec in enumerate(specs)]
    return Mounted(tuple(r for r, _ in found), tuple(s for _, s in found))


async def _resolve_one(
    ctx: Context, mount: MountImage, spec: MountSpec, index: int, table: mount_sources.Table
) -> tuple[ResolvedMount, MountStatus]:
    where = f"config.mounts[{index}]"
    if spec.image:
        source, image_id = await _image_source(ctx, mount, spec, where)
        return ResolvedMount(spec, source, frozenset({"ro"})), MountStatus(spec, image_id)
    patience = ctx.settings.mount_timeout
    source, point = await mount_sources.find(spec.host_path, where, table, patience)
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
