"""Take away what a container has on the host: one idempotent teardown from the record alone.

It serves removal, the undo of a create that failed at any step, and recovery. Logs stay: they are
the kubelet's. Whoever calls holds the container's lock (`ctx.locks`).
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal

from berth.linux import files, processes
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState
from cri_shim.runtime import commands

log = logging.getLogger(__name__)

TIMEOUT = 6.0
"""Seconds for what was killed to leave its cgroup: zombies stay until the next look for orphans."""


async def teardown(ctx: Context, container: Container) -> None:
    """What cannot be taken away raises: the record stays, and a later call tries again.

    The order: processes, then what the OCI runtime keeps of them, then their cgroup, which is busy
    until both are gone; then the mounts that they used; the bundle last, since it says that the
    OCI runtime may know the container, to whoever comes after a kill in between.
    """
    await ctx.exits.cleaned(container.id)  # it deletes too, and not beside us
    ctx.exits.forget(container.id)
    # A create that failed may have got as far as a process; after any other end there is none.
    _kill(container.pid, container.pid_start)
    bundle = ctx.directories.bundle(container.id)
    if bundle.exists():
        await commands.delete(ctx.handlers.get(container.handler), container.id, force=True)
        if container.cgroup:
            await asyncio.to_thread(_remove_cgroup, ctx, container.cgroup)
    await ctx.images.release(container.id)
    # From the record, where they stand since before the first was mounted.
    for image_id in container.image_mounts:
        await ctx.images.unmount_image(image_id, container.id)
    await asyncio.to_thread(files.remove_tree, bundle)


def _remove_cgroup(ctx: Context, path: str) -> None:
    """With what is still inside: an exec that was joining when the container ended.

    Zombies count as members until they are reaped, and rmdir(2) gives EBUSY for so long.
    """
    ctx.cgroups.kill(path, TIMEOUT)
    ctx.cgroups.remove(path, TIMEOUT)


def _kill(pid: int, start: int) -> None:
    pidfd = processes.open_pidfd(pid, start) if pid else None
    if pidfd is not None:
        with contextlib.closing(os.fdopen(pidfd, closefd=True)):
            processes.send_signal(pidfd, signal.SIGKILL)


async def undo(ctx: Context, container: Container, cause: BaseException) -> None:
    """A create failed: leave nothing. What resists stays in the record for recovery to finish."""
    container = ctx.store.update_container(
        container.id, lambda now: dataclasses.replace(now, state=ContainerState.REMOVING)
    )
    try:
        await teardown(ctx, container)
    except Exception:
        log.exception("container %s: undo after %r is not complete; tried again later",
                      container.name, cause)  # fmt: skip
        return
    ctx.store.delete_container(container.id)
