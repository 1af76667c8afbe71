"""RemovePodSandbox."""

import asyncio
import dataclasses

from berth.base.errors import NotFound
from cri_shim.context import Context
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import SandboxState
from cri_shim.sandbox.teardown import remove_files
from cri_shim.verbs.remove_container import remove_container
from cri_shim.verbs.stop_sandbox import stop_sandbox


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
    if sandbox.id not in ctx.store.view.sandboxes:
        return  # another call has removed it meanwhile
    sandbox = ctx.store.update_sandbox(
        sandbox.id, lambda now: dataclasses.replace(now, state=SandboxState.REMOVING)
    )
    await remove_files(ctx, sandbox)
    if sandbox.id in ctx.store.view.sandboxes:
        ctx.store.delete_sandbox(sandbox.id)
        ctx.events.publish(sandbox.id, sandbox.id, EventType.DELETED, gone=sandbox)
