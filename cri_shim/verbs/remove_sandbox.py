"""RemovePodSandbox."""

import asyncio
import dataclasses

from berth.base.errors import NotFound
from cri_shim.context import Context
from cri_shim.model.events import EventType
from cri_shim.model.ids import SandboxId
from cri_shim.model.lifecycle import SandboxState
from cri_shim.sandbox.teardown import release, remove_files
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
    async with ctx.locks.hold(sandbox.id):
        await _remove(ctx, sandbox.id)


async def _remove(ctx: Context, id_: SandboxId) -> None:
    """From the record as it is now: the one whom this call waited for may have done it all."""
    now = ctx.store.view.sandboxes.get(id_)
    if now is None:
        return
    if now.state is SandboxState.REMOVING:
        # Begun before and not finished: by a removal, or by the undo of a create, which may have
        # been resisted before the addresses were given back.
        await release(ctx, now)
    sandbox = ctx.store.update_sandbox(
        id_, lambda now: dataclasses.replace(now, state=SandboxState.REMOVING)
    )
    await remove_files(ctx, sandbox)
    ctx.store.delete_sandbox(id_)
    ctx.events.publish(id_, id_, EventType.DELETED, gone=sandbox)
