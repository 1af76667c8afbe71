"""RunPodSandbox."""

import asyncio
import dataclasses
import os
from collections.abc import Awaitable

from berth.base.operations import Stage
from cri_shim.context import Context
from cri_shim.model.events import EventType
from cri_shim.model.ids import SandboxId, new_id
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.sandbox import Sandbox, SandboxSpec
from cri_shim.sandbox.admission import admit
from cri_shim.sandbox.cgroup import choose_cgroup
from cri_shim.sandbox.checks import check
from cri_shim.sandbox.files import make_files
from cri_shim.sandbox.init import start_init
from cri_shim.sandbox.labels import choose_level
from cri_shim.sandbox.namespaces import make_namespaces
from cri_shim.sandbox.network import attach
from cri_shim.sandbox.teardown import undo


async def run_sandbox(ctx: Context, spec: SandboxSpec, config: bytes) -> SandboxId:
    """Make the pod ready; a retry with the same name joins the attempt in flight.

    Raises what check, admission and each step raise; nothing is left behind then.
    """
    check(spec, ctx.handlers.get(spec.handler))

    async def make(stage: Stage) -> SandboxId:
        return await _make(ctx, spec, config, stage)

    # kubelet gives up after two minutes and comes again with the same four names (see
    # `SandboxMetadata`): it then gets the pod that is in the making, and not "exists already".
    what = f"run pod {spec.metadata}"
    return await ctx.sandbox_operations.join(spec.metadata.unique, what, make)


async def _make(ctx: Context, spec: SandboxSpec, config: bytes, stage: Stage) -> SandboxId:
    sandbox = _intent(ctx, spec, config)
    async with ctx.locks.hold(sandbox.id):
        # The record before any effect: after `kill -9` recovery finds CREATING and undoes it.
        ctx.store.add_sandbox(sandbox)
        try:
            await _steps(ctx, sandbox, stage)
        except BaseException as error:
            stage.enter("undo")
            await undo(ctx, sandbox, error)
            raise
    ctx.store.update_sandbox(
        sandbox.id, lambda now: dataclasses.replace(now, state=SandboxState.READY)
    )
    # Two events: kubelet's evented PLEG knows a pod by both, as containerd sends them.
    ctx.events.publish(sandbox.id, sandbox.id, EventType.CREATED)
    ctx.events.publish(sandbox.id, sandbox.id, EventType.STARTED)
    return sandbox.id


def _intent(ctx: Context, spec: SandboxSpec, config: bytes) -> Sandbox:
    """What is chosen rather than made. Without an await up to the record that takes it: two pods
    that choose at once would choose the same.
    """
    id_ = SandboxId(new_id(os.urandom(32)))
    cgroup, ours = choose_cgroup(ctx, spec, id_)
    return Sandbox(
        id=id_,
        spec=spec,
        state=SandboxState.CREATING,
        created_at=ctx.clock(),
        handler=spec.handler or ctx.handlers.default,
        cgroup=cgroup,
        cgroup_made=ours,
        boot=ctx.boot,
        selinux_level=choose_level(ctx.host.selinux, spec, ctx.store.view.sandboxes.values()),
        config=config,
    )


async def _steps(ctx: Context, sandbox: Sandbox, stage: Stage) -> None:
    """Each step's result is in the record before what needs it begins: teardown needs no more.

    Admission first, since a pod that is held comes back every few seconds and must cost nothing.
    Addresses after the namespaces that they go into. The init last and beside them: it needs the
    namespaces but no address, and starting it is as slow as a CNI plugin.
    """
    stage.enter("admission")
    await admit(ctx, sandbox)
    stage.enter("namespaces")
    await _together(make_namespaces(ctx, sandbox), make_files(ctx, sandbox))
    sandbox = ctx.store.view.sandboxes[sandbox.id]  # now with the path of its network namespace
    if sandbox.spec.security.namespaces.pid is NamespaceMode.POD:
        stage.enter("network and init")
        await _together(attach(ctx, sandbox), start_init(ctx, sandbox))
    else:
        stage.enter("network")
        await attach(ctx, sandbox)


async def _together(*steps: Awaitable[None]) -> None:
    """All of them to their end, then the first error: an undo finds nothing still in the making."""
    # A plain gather would raise with the first error and leave the others running.
    for ended in await asyncio.gather(*steps, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
