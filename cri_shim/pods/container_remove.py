"""RemoveContainer."""

import dataclasses

from berth.base.errors import NotFound
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import ContainerState
from cri_shim.pods.container_stop import stop_container
from cri_shim.pods.container_teardown import teardown
from cri_shim.pods.context import Context


async def remove_container(ctx: Context, id_: str) -> None:
    """Remove it, killing it first if it runs. Idempotent; its log stays."""
    try:
        container = ctx.store.view.container(id_)
    except NotFound:
        return
    if container.state is ContainerState.CREATING:
        return  # not shown to clients: its create will finish or undo itself
    await stop_container(ctx, container.id, 0.0)
    container = ctx.store.view.containers.get(container.id, container)
    if container.state is not ContainerState.REMOVING:
        container = dataclasses.replace(container, state=ContainerState.REMOVING)
        ctx.store.put_container(container)
    await teardown(ctx, container)
    if container.id in ctx.store.view.containers:
        ctx.store.delete_container(container.id)
        ctx.events.publish(container.id, container.sandbox_id, EventType.DELETED)
