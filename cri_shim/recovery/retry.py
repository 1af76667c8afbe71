"""Teardowns that something resisted are tried again, for as long as it takes."""

import asyncio

from cri_shim.container import teardown as container_teardown
from cri_shim.context import Context
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.sandbox import teardown as sandbox_teardown

INTERVAL = 30.0
"""Seconds between attempts."""


async def finish_teardowns(ctx: Context, interval: float = INTERVAL) -> None:
    """Run as long as the daemon does; `interval` in seconds."""
    while True:
        await asyncio.sleep(interval)
        await try_again(ctx)


async def try_again(ctx: Context) -> None:
    """One attempt at everything whose removal has begun. What resists again stays."""
    why = RuntimeError("tried again")
    for container in list(ctx.store.view.containers.values()):
        if container.state is ContainerState.REMOVING:
            await container_teardown.undo(ctx, container, why)
    for sandbox in list(ctx.store.view.sandboxes.values()):
        if sandbox.state is SandboxState.REMOVING:
            await sandbox_teardown.undo(ctx, sandbox, why)
