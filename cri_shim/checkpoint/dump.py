"""CheckpointContainer and CheckpointPod: the state of running processes, written by CRIU.

The processes run on. The OCI runtime drives CRIU; an error repeats CRIU's own message.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from berth.base.errors import (
    BerthError,
    FailedPrecondition,
    InvalidArgument,
    RuntimeFailure,
    Unimplemented,
)
from berth.linux import files, processes
from cri_shim.checkpoint import archive
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.ids import check_path
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.runtime import commands, messages
from cri_shim.runtime.handler import ENVIRONMENT, Handler
from cri_shim.verbs import queries
from cri_shim.verbs.exec_sync import running_container

TIMEOUT = 600.0
"""Seconds for CRIU where the request names no limit."""
DIRECTORY = "checkpoints"
"""Below the images: what is being written. Whatever is there at a start was left by a kill."""
_CHECK = 20.0


async def checkpoint_container(ctx: Context, id_: str, location: str, timeout: int) -> None:
    """Write the archive `location`, mode 0600; `timeout` in seconds, 0 for ten minutes.

    Raises Unimplemented where this host or OCI runtime has no working CRIU; nothing is left then,
    and the container runs on.
    """
    container = running_container(ctx, id_, "a checkpoint")
    target = await asyncio.to_thread(_target, location, "location")
    if timeout < 0:
        raise InvalidArgument(f"timeout {timeout} is negative: use 0 for the default")
    async with working_directory(ctx) as directory:
        await _dump(ctx, container, directory, float(timeout) or TIMEOUT)
        await asyncio.to_thread(archive.pack, directory, target)


async def checkpoint_pod(
    ctx: Context, id_: str, output: str, chosen: Sequence[str], options: Mapping[str, str]
) -> None:
    """Write one archive with those of the pod's running containers, or of the `chosen` ones."""
    sandbox = queries.sandbox(ctx.store.view, id_)
    if sandbox.state is not SandboxState.READY:
        raise FailedPrecondition(f"pod {sandbox.name} is not ready: nothing of it runs")
    target = await asyncio.to_thread(_target, output, "output_path")
    if options:
        raise InvalidArgument(f"options {sorted(options)} are not known: give none")
    containers = _of_pod(ctx, sandbox, chosen)
    async with working_directory(ctx) as directory:
        for container in containers:
            part = directory / "containers" / container.name
            part.mkdir(parents=True, mode=0o700)
            await _dump(ctx, container, part, TIMEOUT)
        archive.describe_pod(directory, sandbox, containers, ctx.clock())
        await asyncio.to_thread(archive.pack, directory, target)


def _of_pod(ctx: Context, sandbox: Sandbox, chosen: Sequence[str]) -> list[Container]:
    found = [running_container(ctx, id_, "a checkpoint") for id_ in chosen]
    for container in found:
        if container.sandbox_id != sandbox.id:
            raise InvalidArgument(f"container_ids: {container.name} is not of pod {sandbox.name}")
    if not chosen:
        every = ctx.store.view.containers_of(sandbox.id).values()
        found = [c for c in every if c.state is ContainerState.RUNNING]
    if not found:
        raise FailedPrecondition(f"pod {sandbox.name} has no running container")
    return list({c.id: c for c in found}.values())  # one that was named twice is dumped once


def _target(text: str, field: str) -> Path:
    """Blocks: the path may lie on any file system, one whose server is gone included."""
    path = Path(check_path(text, field))
    if not path.is_absolute() or ".." in path.parts:
        raise InvalidArgument(f"{field} {text!r} is not an absolute path of a file to write")
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidArgument(f"{field} {text!r}: give a file in a directory that exists")
    return path


@contextlib.asynccontextmanager
async def working_directory(ctx: Context) -> AsyncIterator[Path]:
    """A directory for the images of CRIU; memory may be large, so it is not in memory itself."""
    # Beside the images: that file system has the space, and recovery clears this directory.
    base = ctx.images.mountpoint / DIRECTORY
    base.mkdir(exist_ok=True, mode=0o700)
    directory = Path(tempfile.mkdtemp(dir=base))
    try:
        yield directory
    finally:
        await asyncio.to_thread(files.remove_tree, directory)
        with contextlib.suppress(OSError):
            base.rmdir()


async def _dump(ctx: Context, container: Container, directory: Path, timeout: float) -> None:
    """All that the archive of one container holds, as files in `directory`."""
    handler = ctx.handlers.get(container.handler)
    # Cheap and certain before anything is written or frozen.
    check_built_in(handler)
    images = directory / archive.IMAGES
    images.mkdir(mode=0o700)
    try:
        await commands.checkpoint(handler, container.id, images, directory, timeout)
    except RuntimeFailure as error:
        said = messages.criu(files.read_text(directory / "dump.log") or "")
        await _thaw(handler, container)
        # Only now: `criu check` takes long, and says too little where the dump itself can fail.
        await refuse_without_criu(handler)
        raise RuntimeFailure(f"{error}: {said}" if said else str(error)) from error
    except BaseException:
        # Shielded: a client that leaves must not leave its container frozen.
        await asyncio.shield(_thaw(handler, container))
        raise
    bundle, upper = ctx.directories.bundle(container.id), ctx.images.written(container.id)
    await asyncio.to_thread(
        archive.describe, directory, container, handler, bundle, upper, ctx.clock()
    )


def check_built_in(handler: Handler) -> None:
    """Unimplemented where the OCI runtime cannot drive CRIU."""
    if not handler.features.checkpoint:
        raise Unimplemented(
            f"handler {handler.name!r}: this {handler.kind} ({handler.binary}) is built without "
            "CRIU, so its containers cannot be checkpointed or restored: use another handler"
        )


async def _thaw(handler: Handler, container: Container) -> None:
    """CRIU that was stopped half way may leave the processes frozen."""
    with contextlib.suppress(BerthError):
        state = await commands.state(handler, container.id)
        if state is not None and state.get("status") == "paused":
            await commands.resume(handler, container.id)


async def refuse_without_criu(handler: Handler) -> None:
    """Raise Unimplemented where `criu check` finds that this kernel or host is not for it."""
    try:
        result = await processes.run(["criu", "check"], timeout=_CHECK, env=ENVIRONMENT)
    except processes.ProcessTimeout:
        raise Unimplemented(
            f"CRIU does not work on this host: criu check took more than {_CHECK:.0f} s"
        ) from None
    except OSError as error:
        raise Unimplemented(
            f"CRIU does not work on this host: criu: {os.strerror(error.errno or 0)}; install the "
            f"package criu for {handler.kind}"
        ) from error
    if result.code:
        said = messages.criu(result.stderr.decode("utf-8", "replace")) or f"exit code {result.code}"
        raise Unimplemented(f"CRIU does not work on this host: {said}")
