"""StartContainer."""

import dataclasses

from berth.base.errors import BerthError, FailedPrecondition
from cri_shim.container.target import target
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.events import EventType
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.runtime import commands
from cri_shim.sandbox.admission import check_grant

START_FAILED = 128
"""Exit code of a container whose process never ran, as containerd reports it."""


async def start_container(ctx: Context, id_: str) -> None:
    """Run a created container; FailedPrecondition in any other state.

    A failed start leaves it EXITED with reason StartError and the OCI runtime's message.
    """
    container = ctx.store.view.container(id_)
    async with ctx.locks.hold(container.id):
        # Looked at under the lock: of two starts at once the second would otherwise be refused by
        # the OCI runtime, and its failure recorded over the first one's success.
        container = ctx.store.view.container(container.id)
        _check(ctx, container)
        with ctx.exits.starting(container.id):
            await _start(ctx, container)


def _check(ctx: Context, container: Container) -> None:
    if not container.started_at:
        # A container in another's PID namespace is killed with it, and then reads as exited: that
        # its target has ended is the better reason to give.
        target(ctx, container)
    if container.state is not ContainerState.CREATED:
        raise FailedPrecondition(
            f"container {container.name} is {container.state.value}: only a created one can start"
        )
    sandbox = ctx.store.view.sandboxes[container.sandbox_id]
    if sandbox.state is not SandboxState.READY:
        raise FailedPrecondition(f"container {container.name}: its pod is not ready")
    check_grant(ctx, sandbox)


async def _start(ctx: Context, container: Container) -> None:
    try:
        await commands.start(ctx.handlers.get(container.handler), container.id)
    except BerthError as error:
        _record_failure(ctx, container, str(error))
        raise
    running(ctx, container.id)


def running(ctx: Context, id_: ContainerId) -> None:
    """Record that a created container runs."""

    def started(now: Container) -> Container:
        return dataclasses.replace(now, state=ContainerState.RUNNING, started_at=ctx.clock())

    container = ctx.store.update_container(id_, started)
    ctx.events.publish(id_, container.sandbox_id, EventType.STARTED)


def _record_failure(ctx: Context, container: Container, why: str) -> None:
    def failed(now: Container) -> Container:
        return dataclasses.replace(
            now,
            state=ContainerState.EXITED,
            started_at=ctx.clock(),
            finished_at=ctx.clock(),
            exit_code=START_FAILED,
            reason="StartError",
            message=why,
        )

    ctx.store.update_container(container.id, failed)
    ctx.events.publish(container.id, container.sandbox_id, EventType.STOPPED)
