"""RemovePodSandbox."""

import asyncio
import dataclasses

from berth.base.errors import NotFound
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import SandboxState
from cri_shim.pods.container_remove import remove_container
from cri_shim.pods.context import Context
from cri_shim.pods.sandbox_stop import stop_sandbox
from cri_shim.pods.sandbox_teardown import remove_files


async def remove_sandbox(ctx: Context, id_: str) -> None:
    """Stop the pod if it runs, remove its containers and itself. Idempotent."""
    try:
        sandbox = ctx.store.view.sandbox(id_)
    except NotFound:
        return
    if sandbox.state is SandboxState.CREATING:
        return  # not shown to clients: its create will finish or undo itself
    await stop_sandbox(ctx, sandbox.id)
    containers = list(ctx.store.view.containers_of(sandbox.id))
    await asyncio.gather(*(remove_container(ctx, c) for c in containers))
    sandbox = ctx.store.view.sandboxes.get(sandbox.id, sandbox)
    if sandbox.state is SandboxState.NOTREADY:
        sandbox = dataclasses.replace(sandbox, state=SandboxState.REMOVING)
        ctx.store.put_sandbox(sandbox)
    await remove_files(ctx, sandbox)
    if sandbox.id in ctx.store.view.sandboxes:
        ctx.store.delete_sandbox(sandbox.id)
        ctx.events.publish(sandbox.id, sandbox.id, EventType.DELETED, gone=sandbox)
