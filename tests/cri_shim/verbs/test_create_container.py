"""CreateContainer: what refuses one, and what is left of one that failed."""

import asyncio
from dataclasses import replace

import pytest

from berth.base.errors import FailedPrecondition, NotFound, ResourceExhausted, RuntimeFailure
from cri_shim.model.container import ContainerSpec
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.verbs.create_container import create_container
from tests.support.context import IMAGE, Host, container_config


async def create(host: Host, pod: Sandbox, image: str = "busybox:1") -> str:
    config = container_config()
    spec = replace(ContainerSpec.from_cri(config), image=image)
    return await create_container(host.ctx, pod.id, spec, config.SerializeToString())


async def test_nothing_is_made_in_a_pod_whose_grant_was_revoked(host: Host) -> None:
    pod = host.pod(admitted=True)
    host.admission.revocations[pod.spec.metadata.uid] = "reclaimed for owner"
    with pytest.raises(ResourceExhausted, match="its grant was revoked"):
        await create(host, pod)
    assert host.ctx.store.view.containers == {}
    assert host.images.released == []


@pytest.mark.parametrize("state", [SandboxState.STOPPING, SandboxState.NOTREADY])
async def test_only_a_ready_pod_takes_containers(host: Host, state: SandboxState) -> None:
    with pytest.raises(FailedPrecondition, match=f"is {state.value}: only a ready pod"):
        await create(host, host.pod(state))


async def test_an_image_that_is_not_here(host: Host) -> None:
    with pytest.raises(NotFound, match=r"image 'other:2' is not on this node: pull it"):
        await create(host, host.pod(), "other:2")


async def test_a_failed_step_leaves_nothing(host: Host) -> None:
    async def fail() -> None:
        raise RuntimeFailure("no space")

    pod = host.pod()
    host.images.before_root = fail
    with pytest.raises(RuntimeFailure, match="no space"):
        await create(host, pod)
    assert host.ctx.store.view.containers == {}
    assert len(host.images.released) == 1


async def test_a_pod_that_stops_meanwhile_gets_no_container(host: Host) -> None:
    """Whatever step fails then for want of the pod's parts, the pod is named as the reason."""
    pod = host.pod()

    async def stop() -> None:
        host.ctx.store.update_sandbox(pod.id, lambda now: replace(now, state=SandboxState.STOPPING))
        raise RuntimeFailure("no such namespace")

    host.images.before_root = stop
    with pytest.raises(FailedPrecondition, match="is stopping"):
        await create(host, pod)
    assert host.ctx.store.view.containers == {}


async def test_what_resists_the_undo_stays_as_an_intent(host: Host) -> None:
    async def fail() -> None:
        raise RuntimeFailure("no space")

    host.images.before_root = fail
    host.images.fails = RuntimeFailure("mount is busy")
    with pytest.raises(RuntimeFailure, match="no space"):
        await create(host, host.pod())
    [left] = host.ctx.store.view.containers.values()
    assert (left.state, left.image_id) == (ContainerState.REMOVING, IMAGE.id)


async def test_a_retry_joins_the_create_in_flight(host: Host) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()
        raise RuntimeFailure("after all")

    pod = host.pod()
    host.images.before_root = wait
    calls = [asyncio.ensure_future(create(host, pod)) for _ in range(2)]
    await begun.wait()
    assert len(host.ctx.store.view.containers) == 1
    go_on.set()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(error) for error in ended] == ["after all", "after all"]
