"""StopPodSandbox."""

import asyncio
import dataclasses

from berth.base.errors import NotFound
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.pods.container_stop import stop_container
from cri_shim.pods.context import Context
from cri_shim.pods.sandbox_teardown import release


async def stop_sandbox(ctx: Context, id_: str) -> None:
    """Kill its containers, give its addresses back. Idempotent; an absent pod is a success."""
    try:
        sandbox = ctx.store.view.sandbox(id_)
    except NotFound:
        return
    if sandbox.state in (SandboxState.READY, SandboxState.STOPPING):
        await _stop(ctx, sandbox)


async def _stop(ctx: Context, sandbox: Sandbox) -> None:
    if sandbox.state is SandboxState.READY:
        sandbox = dataclasses.replace(
            sandbox, state=SandboxState.STOPPING, stopping_since=ctx.clock()
        )
        ctx.store.put_sandbox(sandbox)
    containers = ctx.store.view.containers_of(sandbox.id)
    await asyncio.gather(*(stop_container(ctx, id_, 0.0) for id_ in containers))
    await release(ctx, sandbox)
    now = ctx.store.view.sandboxes.get(sandbox.id)
    if now is not None and now.state is SandboxState.STOPPING:
        # Another pod may have its addresses from now on.
        ctx.store.put_sandbox(dataclasses.replace(now, state=SandboxState.NOTREADY, ips=()))
        ctx.events.publish(sandbox.id, sandbox.id, EventType.STOPPED)
