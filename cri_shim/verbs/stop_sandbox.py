"""StopPodSandbox."""

import asyncio
import dataclasses

from berth.base.errors import NotFound
from cri_shim.context import Context
from cri_shim.model.events import EventType
from cri_shim.model.ids import SandboxId
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.sandbox.teardown import release
from cri_shim.verbs.stop_container import stop_container


async def stop_sandbox(ctx: Context, id_: str) -> None:
    """Kill its containers, give its addresses back. Idempotent; an absent pod is a success."""
    try:
        sandbox = ctx.store.view.sandbox(id_)
    except NotFound:
        return
    async with ctx.locks.hold(sandbox.id):
        await _stop(ctx, sandbox.id)


async def _stop(ctx: Context, id_: SandboxId) -> None:
    """From the record as it is now: the one whom this call waited for may have done it all."""
    now = ctx.store.view.sandboxes.get(id_)
    if now is None or now.state not in (SandboxState.READY, SandboxState.STOPPING):
        return
    # STOPPING first: from here on no container is made or started in the pod, so the list below
    # is complete. After `kill -9` recovery goes on from this state.
    ctx.store.update_sandbox(id_, lambda now: _stopping(now, ctx.clock()))
    containers = ctx.store.view.containers_of(id_)
    await asyncio.gather(*(stop_container(ctx, c, 0.0) for c in containers))
    for container in containers.values():
        if container.state is ContainerState.CREATING:
            async with ctx.locks.hold(container.id):
                pass  # its create sees that the pod is no longer ready, and undoes itself
    # Addresses and grant only now: another pod has them the moment they are given back.
    await release(ctx, ctx.store.view.sandboxes[id_])
    ctx.store.update_sandbox(id_, _stopped)
    ctx.events.publish(id_, id_, EventType.STOPPED)


def _stopping(now: Sandbox, at: int) -> Sandbox:
    if now.state is not SandboxState.READY:
        return now
    return dataclasses.replace(now, state=SandboxState.STOPPING, stopping_since=at)


def _stopped(now: Sandbox) -> Sandbox:
    """The record of a stopped pod. Another pod may have its addresses from now on."""
    return dataclasses.replace(now, state=SandboxState.NOTREADY, ips=())
