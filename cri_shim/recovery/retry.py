"""Teardowns that something resisted are tried again, for as long as it takes.

A client does not see what is being removed, so no client asks again: nobody else would finish it.
"""

import asyncio

from cri_shim.container import teardown as container_teardown
from cri_shim.context import Context
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.sandbox import teardown as sandbox_teardown

INTERVAL = 30.0
"""Seconds between attempts."""


async def finish_teardowns(ctx: Context) -> None:
    """Run as long as the daemon does."""
    while True:
        await asyncio.sleep(INTERVAL)
        await try_again(ctx)


async def try_again(ctx: Context) -> None:
    """One attempt at everything whose removal has begun. What resists again stays.

    Containers first: a pod's cgroup and namespaces are busy until theirs are gone.
    """
    why = RuntimeError("tried again")
    containers = ctx.store.view.containers.values()
    for container in [c for c in containers if c.state is ContainerState.REMOVING]:
        # One that is under way is waited for; it may have left nothing to do.
        async with ctx.locks.hold(container.id):
            if container.id in ctx.store.view.containers:
                await container_teardown.undo(ctx, container, why)
    sandboxes = ctx.store.view.sandboxes.values()
    for sandbox in [s for s in sandboxes if s.state is SandboxState.REMOVING]:
        async with ctx.locks.hold(sandbox.id):
            if sandbox.id in ctx.store.view.sandboxes:
                await sandbox_teardown.undo(ctx, sandbox, why)
