"""What resisted its teardown is taken away by a later attempt, and nobody has to ask for it."""

import asyncio

import pytest

from berth.base.errors import RuntimeFailure
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.recovery import retry
from tests.support.context import Host


async def test_what_is_being_removed_is_tried_again(host: Host) -> None:
    pod, gone = host.pod(), host.pod(SandboxState.REMOVING, admitted=True)
    kept = host.container(pod, ContainerState.EXITED)
    host.container(pod, ContainerState.REMOVING)
    await retry.try_again(host.ctx)
    assert set(host.ctx.store.view.sandboxes) == {pod.id}
    assert set(host.ctx.store.view.containers) == {kept.id}
    assert host.admission.told == [f"release {gone.spec.metadata.uid}"]


async def test_what_resists_again_stays_and_hurts_no_other(host: Host) -> None:
    pod = host.pod(SandboxState.REMOVING)
    container = host.container(host.pod(), ContainerState.REMOVING)
    host.network.fails = RuntimeFailure("no answer")
    await retry.try_again(host.ctx)
    assert host.now(pod).state is SandboxState.REMOVING
    assert container.id not in host.ctx.store.view.containers


async def test_the_daemon_tries_until_it_succeeds(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "INTERVAL", 0.001)
    pod = host.pod(SandboxState.REMOVING)
    host.network.fails = RuntimeFailure("no answer")
    trying = asyncio.ensure_future(retry.finish_teardowns(host.ctx))
    await asyncio.sleep(0.01)
    assert host.now(pod).state is SandboxState.REMOVING
    host.network.fails = None
    async with asyncio.timeout(10):
        while host.ctx.store.view.sandboxes:
            await asyncio.sleep(0.001)
    trying.cancel()


async def test_a_removal_under_way_is_left_alone(host: Host) -> None:
    container = host.container(host.pod(), ContainerState.REMOVING)
    async with host.ctx.locks.hold(container.id):
        trying = asyncio.ensure_future(retry.try_again(host.ctx))
        await asyncio.sleep(0)
        assert host.images.released == []
        host.ctx.store.delete_container(container.id)
    await trying
    assert host.images.released == []
