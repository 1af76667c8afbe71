"""RemoveContainer."""

import dataclasses

from berth.base.errors import NotFound
from cri_shim.container.teardown import teardown
from cri_shim.context import Context
from cri_shim.model.events import EventType
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState
from cri_shim.verbs.stop_container import stop_container


async def remove_container(ctx: Context, id_: str) -> None:
    """Remove it, killing it first if it runs. Idempotent; its log stays.

    One that is being created is waited for: its pod cannot go before it.
    """
    try:
        container = ctx.store.view.container(id_)
    except NotFound:
        return
    # Before the lock: the start that holds it may hang until its process is killed.
    await stop_container(ctx, container.id, 0.0)
    async with ctx.locks.hold(container.id):
        await _remove(ctx, container.id)


async def _remove(ctx: Context, id_: ContainerId) -> None:
    """From the record as it is now: what held the lock may have made, started or removed it."""
    await stop_container(ctx, id_, 0.0)
    if id_ not in ctx.store.view.containers:
        return
    container = ctx.store.update_container(
        id_, lambda now: dataclasses.replace(now, state=ContainerState.REMOVING)
    )
    await teardown(ctx, container)
    ctx.store.delete_container(id_)
    ctx.events.publish(id_, container.sandbox_id, EventType.DELETED)
