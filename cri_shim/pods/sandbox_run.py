"""RunPodSandbox."""

import dataclasses
import os

from cri_shim.model.events import EventType
from cri_shim.model.ids import SandboxId, new_id
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.sandbox import Sandbox, SandboxSpec
from cri_shim.pods.context import Context
from cri_shim.pods.operations import Stage
from cri_shim.pods.sandbox_admission import admit
from cri_shim.pods.sandbox_cgroup import make_cgroup
from cri_shim.pods.sandbox_checks import check
from cri_shim.pods.sandbox_files import make_files
from cri_shim.pods.sandbox_init import start_init
from cri_shim.pods.sandbox_namespaces import make_namespaces
from cri_shim.pods.sandbox_network import attach
from cri_shim.pods.sandbox_teardown import undo


async def run_sandbox(ctx: Context, spec: SandboxSpec, config: bytes) -> SandboxId:
    """Make the pod ready; a retry with the same name joins the attempt in flight.

    Raises what check, admission and each step raise; nothing is left behind then.
    """
    check(spec, ctx.handlers.get(spec.handler))

    async def make(stage: Stage) -> SandboxId:
        return await _make(ctx, spec, config, stage)

    what = f"run pod {spec.metadata}"
    return await ctx.sandbox_operations.join(spec.metadata.unique, what, make)


async def _make(ctx: Context, spec: SandboxSpec, config: bytes, stage: Stage) -> SandboxId:
    sandbox = _intent(ctx, spec, config)
    ctx.store.add_sandbox(sandbox)
    try:
        sandbox = await _steps(ctx, sandbox, stage)
    except BaseException as error:
        stage.enter("undo")
        await undo(ctx, ctx.store.view.sandboxes[sandbox.id], error)
        raise
    ctx.store.put_sandbox(dataclasses.replace(sandbox, state=SandboxState.READY))
    ctx.events.publish(sandbox.id, sandbox.id, EventType.CREATED)
    ctx.events.publish(sandbox.id, sandbox.id, EventType.STARTED)
    return sandbox.id


def _intent(ctx: Context, spec: SandboxSpec, config: bytes) -> Sandbox:
    return Sandbox(
        id=SandboxId(new_id(os.urandom(32))),
        spec=spec,
        state=SandboxState.CREATING,
        created_at=ctx.clock(),
        handler=spec.handler or ctx.handlers.default,
        boot=ctx.boot,
        config=config,
    )


async def _steps(ctx: Context, sandbox: Sandbox, stage: Stage) -> Sandbox:
    """Each step's result is in the record before the next begins: teardown needs no more."""

    def note(changed: Sandbox) -> Sandbox:
        if changed is not sandbox:
            ctx.store.put_sandbox(changed)
        return changed

    stage.enter("admission")
    sandbox = note(await admit(ctx, sandbox))
    stage.enter("cgroup")
    sandbox = note(await make_cgroup(ctx, sandbox))
    stage.enter("namespaces")
    sandbox = note(await make_namespaces(ctx, sandbox))
    stage.enter("files")
    await make_files(ctx, sandbox)
    stage.enter("network")
    sandbox = note(await attach(ctx, sandbox))
    if sandbox.spec.security.namespaces.pid is NamespaceMode.POD:
        stage.enter("init")
        sandbox = note(await start_init(ctx, sandbox))
    return sandbox
