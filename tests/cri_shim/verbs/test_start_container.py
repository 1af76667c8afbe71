"""StartContainer: who may start, and what is recorded of a start that failed."""

import asyncio

import pytest

from berth.base.errors import BerthError, FailedPrecondition, ResourceExhausted, RuntimeFailure
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.verbs.start_container import START_FAILED, start_container
from tests.support.context import Host


async def test_a_created_container_runs(host: Host) -> None:
    container = host.container(host.pod())
    await start_container(host.ctx, container.id)
    assert host.runtime.calls == [f"start {container.id}"]
    started = host.ctx.store.view.containers[container.id]
    assert (started.state, started.started_at > 0) == (ContainerState.RUNNING, True)
    [event] = await host.events(1)
    assert (event.container_id, event.type) == (container.id, EventType.STARTED)


async def test_nothing_starts_in_a_pod_whose_grant_was_revoked(host: Host) -> None:
    """Its cores are another's already: the container stays created."""
    pod = host.pod(admitted=True)
    container = host.container(pod)
    host.admission.revocations[pod.spec.metadata.uid] = "reclaimed for owner"
    with pytest.raises(ResourceExhausted, match=r"its grant was revoked: reclaimed for owner"):
        await start_container(host.ctx, container.id)
    assert host.runtime.calls == []
    assert host.state(container) is ContainerState.CREATED


@pytest.mark.parametrize(
    "state", [ContainerState.RUNNING, ContainerState.EXITED, ContainerState.REMOVING]
)
async def test_only_a_created_one_starts(host: Host, state: ContainerState) -> None:
    container = host.container(host.pod(), state)
    with pytest.raises(FailedPrecondition, match=f"is {state.value}: only a created one"):
        await start_container(host.ctx, container.id)
    assert (host.runtime.calls, host.state(container)) == ([], state)


@pytest.mark.parametrize("state", [SandboxState.STOPPING, SandboxState.NOTREADY])
async def test_nothing_starts_in_a_pod_that_stops(host: Host, state: SandboxState) -> None:
    container = host.container(host.pod(state))
    with pytest.raises(FailedPrecondition, match="its pod is not ready"):
        await start_container(host.ctx, container.id)
    assert host.runtime.calls == []


async def test_a_failed_start_is_recorded_with_its_reason(host: Host) -> None:
    container = host.container(host.pod())
    host.runtime.complain("exec: no such file")
    with pytest.raises(RuntimeFailure, match="exec: no such file"):
        await start_container(host.ctx, container.id)
    ended = host.ctx.store.view.containers[container.id]
    assert (ended.state, ended.exit_code) == (ContainerState.EXITED, START_FAILED)
    assert (ended.reason, "no such file" in ended.message) == ("StartError", True)
    assert 0 < ended.started_at < ended.finished_at


async def test_of_two_starts_one_is_made(host: Host) -> None:
    """The loser must not record its failure over the winner's success."""
    container = host.container(host.pod())
    both = (start_container(host.ctx, container.id) for _ in range(2))
    first, second = await asyncio.gather(*both, return_exceptions=True)
    assert first is None
    assert isinstance(second, BerthError) and "is running" in str(second)
    assert host.runtime.calls == [f"start {container.id}"]
    assert host.state(container) is ContainerState.RUNNING
