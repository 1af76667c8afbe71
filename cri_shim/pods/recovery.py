"""After a restart or a reboot: make the records true again, finish what was begun.

Same boot: a container runs on without the daemon; its exit, if it ended meanwhile, is in the exit
file. Creates and removals cut off by `kill -9` are undone or finished from their intent records.
Another boot: nothing runs. Containers are EXITED, pods NOTREADY, and their addresses go back.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable

from berth.linux import files, mounts
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.pods import checkpoint, container_teardown, exits, sandbox_teardown
from cri_shim.pods.container_stop import stop_container
from cri_shim.pods.context import Context
from cri_shim.pods.sandbox_admission import admit_request
from cri_shim.runtime import commands
from cri_shim.runtime.exits import Exit

log = logging.getLogger(__name__)

LOST = 255
"""Exit code where nobody saw the end."""

RETRY = 30.0
"""Seconds between attempts to finish a teardown that something resists."""


async def recover(ctx: Context) -> None:
    """Run once before the sockets serve. Never raises for one object: that one is logged."""
    rebooted = ctx.store.meta("boot") not in (None, ctx.boot)
    if rebooted:
        log.info("the host has rebooted: pods of the boot before are gone")
    for container in list(ctx.store.view.containers.values()):
        await _guard(_container(ctx, container), f"container {container.id[:12]}")
    for sandbox in list(ctx.store.view.sandboxes.values()):
        await _guard(_sandbox(ctx, sandbox), f"pod {sandbox.name}")
    await _guard(_forget_broken(ctx), "unreadable records")
    await _guard(asyncio.to_thread(_remove_orphans, ctx), "orphans")
    await ctx.network.recover(set(ctx.store.view.sandboxes))
    ctx.store.set_meta("boot", ctx.boot)
    ctx.admission.announce(
        admit_request(s) for s in ctx.store.view.sandboxes.values() if s.admitted
    )
    ctx.tasks.start(_finish_later(ctx), "unfinished teardowns")


async def _guard(work: Awaitable[None], what: str) -> None:
    try:
        await work
    except Exception:
        log.exception("recovery of %s", what)


async def _container(ctx: Context, container: Container) -> None:
    match container.state:
        case ContainerState.CREATING | ContainerState.REMOVING:
            await container_teardown.undo(ctx, container, RuntimeError("interrupted"))
        case ContainerState.CREATED | ContainerState.RUNNING:
            await _living(ctx, container)
        case ContainerState.EXITED:
            return


async def _living(ctx: Context, container: Container) -> None:
    """It ran when the daemon last looked."""
    if container.boot != ctx.boot:
        _record_lost(ctx, container, "the host rebooted")
        return
    if container.state is ContainerState.CREATED and await _started(ctx, container):
        container = dataclasses.replace(
            container, state=ContainerState.RUNNING, started_at=ctx.clock()
        )
        ctx.store.put_container(container)
    exits.watch(ctx, container)
    if container.stopping_since:
        ctx.tasks.start(stop_container(ctx, container.id, 0.0), f"stop of {container.id[:12]}")


async def _started(ctx: Context, container: Container) -> bool:
    """Whether the daemon was killed between a start and its record."""
    state = await commands.state(ctx.handlers.get(container.handler), container.id)
    return state is not None and state.get("status") == "running"


def _record_lost(ctx: Context, container: Container, why: str) -> None:
    lost = Exit(code=LOST, at=ctx.clock(), known=False)
    exits.record_end(ctx, container, lost)
    now = ctx.store.view.containers[container.id]
    ctx.store.put_container(dataclasses.replace(now, message=why))


async def _sandbox(ctx: Context, sandbox: Sandbox) -> None:
    match sandbox.state:
        case SandboxState.CREATING | SandboxState.REMOVING:
            await sandbox_teardown.undo(ctx, sandbox, RuntimeError("interrupted"))
        case SandboxState.READY if sandbox.boot != ctx.boot:
            stopping = dataclasses.replace(sandbox, state=SandboxState.STOPPING)
            ctx.store.put_sandbox(stopping)
            await _finish_stop(ctx, stopping)
        case SandboxState.STOPPING:
            await _finish_stop(ctx, sandbox)
        case SandboxState.READY | SandboxState.NOTREADY:
            return


async def _finish_stop(ctx: Context, sandbox: Sandbox) -> None:
    await sandbox_teardown.release(ctx, sandbox)
    now = ctx.store.view.sandboxes[sandbox.id]
    ctx.store.put_sandbox(dataclasses.replace(now, state=SandboxState.NOTREADY, ips=()))


async def _forget_broken(ctx: Context) -> None:
    """A record that cannot be read: its folders are orphans now, the row goes."""
    for id_, why in ctx.store.broken:
        log.error("record %s cannot be read and is dropped: %s", id_[:12], why)
        ctx.store.forget_broken(id_)
    ctx.store.broken.clear()


def _remove_orphans(ctx: Context) -> None:
    """Folders, with what is mounted in them, that no record names."""
    files.remove_tree(ctx.images.mountpoint / checkpoint.FOLDER)
    known = set(ctx.store.view.sandboxes) | set(ctx.store.view.containers)
    for kind in ("pods", "containers"):
        folder = ctx.folders.state / kind
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name not in known:
                for target in reversed(mounts.mounts_below(entry)):
                    mounts.unmount(target, lazy=True)
                files.remove_tree(entry)


async def _finish_later(ctx: Context) -> None:
    """Teardowns that something resisted are tried again, for as long as it takes."""
    while True:
        await asyncio.sleep(RETRY)
        for container in list(ctx.store.view.containers.values()):
            if container.state is ContainerState.REMOVING:
                await container_teardown.undo(ctx, container, RuntimeError("tried again"))
        for sandbox in list(ctx.store.view.sandboxes.values()):
            if sandbox.state is SandboxState.REMOVING:
                await sandbox_teardown.undo(ctx, sandbox, RuntimeError("tried again"))
