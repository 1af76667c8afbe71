"""StopContainer."""

import dataclasses

from berth.base.errors import NotFound
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.upkeep.exits import LIVING


async def stop_container(ctx: Context, id_: str, grace: float) -> None:
    """Stop signal, `grace` seconds, SIGKILL; returns once the end is recorded.

    Idempotent: an absent, a stopped, a stopping container are all successes.
    Raises DeadlineExceeded where the process survives SIGKILL.
    """
    try:
        container = ctx.store.view.container(id_)
    except NotFound:
        return
    if container.state not in LIVING:
        return

    def stopping(now: Container) -> Container:
        return dataclasses.replace(now, stopping_since=now.stopping_since or ctx.clock())

    # In the record before the signal: after `kill -9` of the daemon the stop is carried on. Its
    # grace is not kept, since nobody knows how much of it the time without a daemon has used up.
    container = ctx.store.update_container(container.id, stopping)
    await ctx.stops.stop(container, max(0.0, grace))
