"""StopPodSandbox."""

import asyncio
import dataclasses

from berth.base.errors import NotFound
from cri_shim.context import Context
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.sandbox.teardown import release
from cri_shim.verbs.stop_container import stop_container


async def stop_sandbox(ctx: Context, id_: str) -> None:
    """Kill its containers, give its addresses back. Idempotent; an absent pod is a success."""
    try:
        sandbox = ctx.store.view.sandbox(id_)
    except NotFound:
        return
    if sandbox.state in (SandboxState.READY, SandboxState.STOPPING):
        await _stop(ctx, sandbox)


async def _stop(ctx: Context, sandbox: Sandbox) -> None:
    sandbox = ctx.store.update_sandbox(sandbox.id, lambda now: _stopping(now, ctx.clock()))
    containers = ctx.store.view.containers_of(sandbox.id)
    await asyncio.gather(*(stop_container(ctx, id_, 0.0) for id_ in containers))
    await release(ctx, sandbox)
    now = ctx.store.view.sandboxes.get(sandbox.id)
    if now is not None and now.state is SandboxState.STOPPING:
        ctx.store.update_sandbox(sandbox.id, stopped)
        ctx.events.publish(sandbox.id, sandbox.id, EventType.STOPPED)


def _stopping(now: Sandbox, at: int) -> Sandbox:
    if now.state is not SandboxState.READY:
        return now
    return dataclasses.replace(now, state=SandboxState.STOPPING, stopping_since=at)


def stopped(now: Sandbox) -> Sandbox:
    """The record of a stopped pod. Another pod may have its addresses from now on."""
    return dataclasses.replace(now, state=SandboxState.NOTREADY, ips=())
