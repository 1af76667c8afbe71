"""RemoveContainer."""

import dataclasses

from berth.base.errors import NotFound
from cri_shim.container.teardown import teardown
from cri_shim.context import Context
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import ContainerState
from cri_shim.verbs.stop_container import stop_container


async def remove_container(ctx: Context, id_: str) -> None:
    """Remove it, killing it first if it runs. Idempotent; its log stays."""
    try:
        container = ctx.store.view.container(id_)
    except NotFound:
        return
    if container.state is ContainerState.CREATING:
        return  # not shown to clients: its create will finish or undo itself
    await stop_container(ctx, container.id, 0.0)
    if container.id not in ctx.store.view.containers:
        return  # another call has removed it meanwhile
    container = ctx.store.update_container(
        container.id, lambda now: dataclasses.replace(now, state=ContainerState.REMOVING)
    )
    await teardown(ctx, container)
    if container.id in ctx.store.view.containers:
        ctx.store.delete_container(container.id)
        ctx.events.publish(container.id, container.sandbox_id, EventType.DELETED)
