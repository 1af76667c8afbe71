"""After a restart or a reboot: make the records true again, finish what was begun.

Same boot: a container runs on without the daemon; its exit, if it ended meanwhile, is in the exit
file. Creates and removals cut off by `kill -9` are undone or finished from their intent records.
Another boot: nothing runs. Containers are EXITED, pods NOTREADY, and their addresses go back.

The order: containers before pods, since a pod's namespaces and cgroup are busy until its
containers are gone; records before directories without one, since a record that is dropped here
makes some; the network after both, which gives back the addresses of pods that have no record;
and the agent last, which then hears of exactly the pods that are left.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable

from berth.linux import files, mounts
from cri_shim.checkpoint import dump
from cri_shim.container import teardown as container_teardown
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.runtime import commands
from cri_shim.runtime.exits import Exit
from cri_shim.sandbox import teardown as sandbox_teardown
from cri_shim.sandbox.admission import admit_request
from cri_shim.verbs.stop_container import stop_container
from cri_shim.verbs.stop_sandbox import stop_sandbox

log = logging.getLogger(__name__)

LOST = 255
"""Exit code where nobody saw the end."""


async def recover(ctx: Context) -> None:
    """Run once before the sockets serve. Never raises for one object: that one is logged."""
    rebooted = ctx.store.meta("boot") not in (None, ctx.boot)
    if rebooted:
        log.info("the host has rebooted: pods of the boot before are gone")
    # A list of the values: the loop below makes new views.
    for container in list(ctx.store.view.containers.values()):
        await _guard(_container(ctx, container), f"container {container.id[:12]}")
    for sandbox in list(ctx.store.view.sandboxes.values()):
        await _guard(_sandbox(ctx, sandbox), f"pod {sandbox.name}")
    await _guard(_forget_broken(ctx), "unreadable records")
    await _guard(asyncio.to_thread(_remove_orphans, ctx), "orphans")
    await ctx.network.recover(set(ctx.store.view.sandboxes))
    # Only now: killed before this line, the next start still sees the reboot and does it all again.
    ctx.store.set_meta("boot", ctx.boot)
    ctx.admission.announce(
        admit_request(s) for s in ctx.store.view.sandboxes.values() if s.admitted
    )
    for sandbox in ctx.store.view.sandboxes.values():
        if sandbox.state is SandboxState.STOPPING:
            # Not waited for: a process that does not die would keep the daemon from serving.
            ctx.tasks.start(stop_sandbox(ctx, sandbox.id), f"stop of pod {sandbox.name}")


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
        lost = Exit(code=LOST, at=ctx.clock(), known=False)
        ctx.exits.record(container.id, lost, "the host rebooted")
        return
    # The start is the one effect that the record follows and does not lead: RUNNING before it would
    # be a lie where the OCI runtime refuses. So this one is asked for.
    if container.state is ContainerState.CREATED and await _started(ctx, container):
        container = ctx.store.update_container(
            container.id,
            lambda now: dataclasses.replace(
                now, state=ContainerState.RUNNING, started_at=ctx.clock()
            ),
        )
    ctx.exits.watch(container)
    if container.stopping_since:
        ctx.tasks.start(stop_container(ctx, container.id, 0.0), f"stop of {container.id[:12]}")


async def _started(ctx: Context, container: Container) -> bool:
    """Whether the daemon was killed between a start and its record."""
    state = await commands.state(ctx.handlers.get(container.handler), container.id)
    return state is not None and state.get("status") == "running"


async def _sandbox(ctx: Context, sandbox: Sandbox) -> None:
    match sandbox.state:
        case SandboxState.CREATING | SandboxState.REMOVING:
            await sandbox_teardown.undo(ctx, sandbox, RuntimeError("interrupted"))
        case SandboxState.READY | SandboxState.STOPPING if sandbox.boot != ctx.boot:
            await stop_sandbox(ctx, sandbox.id)
        case SandboxState.READY | SandboxState.STOPPING | SandboxState.NOTREADY:
            return


async def _forget_broken(ctx: Context) -> None:
    """A record that cannot be read: its directories are orphans now, the row goes."""
    for id_, why in ctx.store.broken:
        log.error("record %s cannot be read and is dropped: %s", id_[:12], why)
        ctx.store.forget_broken(id_)
    ctx.store.broken.clear()


def _remove_orphans(ctx: Context) -> None:
    """Directories, with what is mounted in them, that no record names."""
    # Nothing serves yet, so whatever no record names was left by a kill, and nobody else's.
    files.remove_tree(ctx.images.mountpoint / dump.DIRECTORY)
    known = set(ctx.store.view.sandboxes) | set(ctx.store.view.containers)
    for kind in ("pods", "containers"):
        directory = ctx.directories.state / kind
        for entry in directory.iterdir() if directory.is_dir() else ():
            if entry.name not in known:
                # Innermost first; `remove_tree` enters no mount, so what stays mounted stays whole.
                for target in reversed(mounts.mounts_below(entry)):
                    mounts.unmount(target, lazy=True)
                files.remove_tree(entry)
