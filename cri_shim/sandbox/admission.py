"""Ask before anything is made; tell when the pod is gone."""

import dataclasses

from berth.base.errors import ResourceExhausted
from cri_shim.admission.contract import AdmitRequest
from cri_shim.context import Context
from cri_shim.model.sandbox import Sandbox


def admit_request(sandbox: Sandbox) -> AdmitRequest:
    spec = sandbox.spec
    return AdmitRequest(
        pod_uid=spec.metadata.uid or sandbox.id,
        namespace=spec.metadata.namespace,
        name=spec.metadata.name,
        attempt=spec.metadata.attempt,
        labels=spec.labels,
        annotations=spec.annotations,
        cgroup_parent=spec.cgroup_parent,
        resources=spec.resources,
        overhead=spec.overhead,
    )


async def admit(ctx: Context, sandbox: Sandbox) -> None:
    """Ask the agent; ResourceExhausted names consumer, shortage and deadline; kubelet retries."""
    await ctx.admission.admit(admit_request(sandbox))
    if ctx.admission.enabled:
        ctx.store.update_sandbox(sandbox.id, lambda now: dataclasses.replace(now, admitted=True))


def check_grant(ctx: Context, sandbox: Sandbox) -> None:
    """ResourceExhausted where the pod's grant was taken back: nothing new may start in it."""
    why = ctx.admission.revoked(sandbox.spec.metadata.uid or sandbox.id)
    if sandbox.admitted and why is not None:
        raise ResourceExhausted(f"pod {sandbox.name}: its grant was revoked: {why}")


async def hand_back(ctx: Context, sandbox: Sandbox) -> None:
    """The pod's processes are gone: its grant is free, unless a newer attempt holds it."""
    if not sandbox.admitted:
        return
    uid = sandbox.spec.metadata.uid or sandbox.id
    held = any(
        other.spec.metadata.uid == uid and other.id != sandbox.id and other.admitted
        for other in ctx.store.view.sandboxes.values()
    )
    if not held:
        await ctx.admission.release(uid)
    if sandbox.id in ctx.store.view.sandboxes:
        # As it is now: another stop may have moved its state while the agent was being told.
        ctx.store.update_sandbox(sandbox.id, lambda now: dataclasses.replace(now, admitted=False))
