"""RestorePod: a new pod whose containers run on from where an archive of CheckpointPod has them.

The archive is read whole before anything is made; what fails later takes all away again.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from berth.base.errors import AlreadyExists, BerthError, InvalidArgument, Unimplemented
from berth.base.operations import Stage
from berth.linux import files
from cri_shim.checkpoint import dump, reading
from cri_shim.checkpoint.archive import IMAGES
from cri_shim.checkpoint.reading import FIELD
from cri_shim.context import Context
from cri_shim.model.container import ContainerSpec
from cri_shim.model.ids import ContainerId, SandboxId, check_path
from cri_shim.model.sandbox import SandboxSpec
from cri_shim.verbs.create_container import Restored, create_container
from cri_shim.verbs.remove_sandbox import remove_sandbox
from cri_shim.verbs.run_sandbox import run_sandbox

log = logging.getLogger(__name__)

Wanted = tuple[ContainerSpec, bytes]
"""A container's configuration, and the bytes of the message that had it."""


async def check_host(ctx: Context, handler_name: str) -> None:
    """Unimplemented where the OCI runtime or this host cannot restore, with CRIU's own message."""
    handler = ctx.handlers.get(handler_name)
    await dump.refuse_without_criu(handler)
    dump.check_built_in(handler)


async def restore_pod(
    ctx: Context, path: str, spec: SandboxSpec, config: bytes, wanted: Sequence[Wanted]
) -> SandboxId:
    """Make the pod and restore each checkpointed container as the one `wanted` by its name.

    A retry joins the attempt in flight. InvalidArgument for an archive that is none, or other
    containers than it has; AlreadyExists for a pod of this name. Nothing is left behind then.
    """
    # CRIU restores owners by number, and the new pod's numbers stand for others on the host.
    if spec.security.namespaces.user is not None:
        raise Unimplemented("pods with a user namespace are not restored: their ids are others")
    archive = Path(check_path(path, FIELD))
    if not archive.is_absolute() or not await asyncio.to_thread(archive.is_file):
        raise InvalidArgument(f"{FIELD} {path!r} is not the absolute path of a file")

    async def make(stage: Stage) -> SandboxId:
        async with dump.working_directory(ctx) as directory:
            stage.enter("archive")
            await asyncio.to_thread(reading.unpack, archive, directory)
            found = await asyncio.to_thread(reading.containers, archive, directory)
            _check_match(ctx, found, [one for one, _ in wanted])
            return await _make(ctx, directory, spec, config, wanted, stage)

    meta = spec.metadata
    return await ctx.sandbox_operations.join(
        f"restore {meta.unique} {path}", f"restore pod {meta}", make
    )


async def _make(
    ctx: Context,
    directory: Path,
    spec: SandboxSpec,
    config: bytes,
    wanted: Sequence[Wanted],
    stage: Stage,
) -> SandboxId:
    meta = spec.metadata
    # Asked here, since `run_sandbox` would join the other attempt and return its pod.
    taken = any(s.spec.metadata.unique == meta.unique for s in ctx.store.view.sandboxes.values())
    if taken or ctx.sandbox_operations.stage_of(meta.unique) is not None:
        raise AlreadyExists(f"pod {meta} is there: remove it, then restore it")
    made: SandboxId | None = None
    try:
        stage.enter("pod")
        # A pod like any other, by the verbs: admission, addresses and undo are theirs.
        made = await run_sandbox(ctx, spec, config)
        for one, message in wanted:
            stage.enter(f"container {one.name}")
            part = directory / "containers" / one.name
            restored = Restored(part / IMAGES, partial(_fill, ctx, part))
            await create_container(ctx, made, one, message, restored)
        return made
    except BaseException as error:
        failed = stage.name
        if made is not None:
            stage.enter("undo")
            await _undo(ctx, made, error)
        if isinstance(error, BerthError):
            raise type(error)(f"cannot restore pod {meta}: {failed}: {error}") from error
        raise


async def _undo(ctx: Context, made: SandboxId, cause: BaseException) -> None:
    """What resists stays as a pod that the kubelet sees and removes."""
    try:
        await remove_sandbox(ctx, made)
    except Exception:
        log.exception("pod %s: undo after %r is not complete", made[:12], cause)


async def _fill(ctx: Context, part: Path, id_: ContainerId) -> None:
    """What the container had taken away goes, what it had written comes."""
    # Deleted first: a path may have been a directory of the image and be a file of the container.
    await asyncio.to_thread(_take_away, ctx.images.rootfs(id_), reading.deleted(part))
    await ctx.images.write(id_, part / "rootfs-diff.tar")


def _take_away(root: Path, names: Sequence[str]) -> None:
    for name in names:
        path = PurePosixPath(name)
        files.remove_tree(files.safe_join(root, str(path.parent)) / path.name)


def _check_match(ctx: Context, found: dict[str, str], wanted: Sequence[ContainerSpec]) -> None:
    names = [one.name for one in wanted]
    if sorted(names) != sorted(found):
        raise InvalidArgument(
            f"container_configs are for {sorted(names)}, the checkpoint has {sorted(found)}: "
            "give one for each"
        )
    for one in wanted:
        image = ctx.images.get(one.image)
        if image is not None and image.id != found[one.name]:
            raise InvalidArgument(
                f"container_configs: {one.name} was made from image {found[one.name]}, "
                f"and {one.image} is {image.id}"
            )
