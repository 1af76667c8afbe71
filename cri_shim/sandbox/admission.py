"""Ask before anything is made; tell when the pod is gone.

A grant belongs to the uid of a pod, but a record to one attempt at it: kubelet makes attempt 1
while attempt 0 is still being taken away. So asking and releasing of one uid come one after the
other. Were the check for a newer attempt and the release two steps, an attempt admitted between
them would lose its grant while its containers start.
"""

import dataclasses

from berth.base.errors import ResourceExhausted
from cri_shim.admission.contract import AdmitRequest
from cri_shim.context import Context
from cri_shim.model.sandbox import Sandbox


def _uid(sandbox: Sandbox) -> str:
    """What the agent knows the pod by; crictl gives pods without a uid."""
    return sandbox.spec.metadata.uid or sandbox.id


def admit_request(sandbox: Sandbox) -> AdmitRequest:
    spec = sandbox.spec
    return AdmitRequest(
        pod_uid=_uid(sandbox),
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
    if not ctx.admission.enabled:
        return
    async with ctx.locks.hold(f"grant of {_uid(sandbox)}"):
        await ctx.admission.admit(admit_request(sandbox))
        # A kill between the agent's yes and this line leaves a grant that no record names. At the
        # next start the agent is told which pods run, and frees what is not among them.
        ctx.store.update_sandbox(sandbox.id, lambda now: dataclasses.replace(now, admitted=True))


def check_grant(ctx: Context, sandbox: Sandbox) -> None:
    """ResourceExhausted where the pod's grant was taken back: nothing new may start in it."""
    why = ctx.admission.revoked(_uid(sandbox)) if sandbox.admitted else None
    if why is not None:
        raise ResourceExhausted(f"pod {sandbox.name}: its grant was revoked: {why}")


async def release_grant(ctx: Context, sandbox: Sandbox) -> None:
    """The pod's processes are gone: its grant is free, unless a newer attempt holds it."""
    if not sandbox.admitted:
        return
    uid = _uid(sandbox)
    async with ctx.locks.hold(f"grant of {uid}"):
        # Looked up here and not before the lock: an attempt may have been admitted meanwhile.
        held = any(
            other.id != sandbox.id and other.admitted and _uid(other) == uid
            for other in ctx.store.view.sandboxes.values()
        )
        if not held:
            await ctx.admission.release(uid)
        ctx.store.update_sandbox(sandbox.id, lambda now: dataclasses.replace(now, admitted=False))
