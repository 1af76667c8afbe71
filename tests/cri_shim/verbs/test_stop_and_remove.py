"""Stop and removal of pods and containers: idempotent, in order, finished by whoever comes next."""

import asyncio
from dataclasses import replace

import pytest

from berth.base.errors import RuntimeFailure
from cri_shim.model.events import EventType
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.verbs.remove_container import remove_container
from cri_shim.verbs.remove_sandbox import remove_sandbox
from cri_shim.verbs.stop_container import stop_container
from cri_shim.verbs.stop_sandbox import stop_sandbox
from tests.support.context import Host


async def test_what_is_absent_is_stopped_and_removed(host: Host) -> None:
    for verb in (stop_sandbox, remove_sandbox, remove_container):
        await verb(host.ctx, "f" * 64)
    await stop_container(host.ctx, "f" * 64, 0.0)


async def test_a_stop_gives_back_addresses_then_the_grant(host: Host) -> None:
    pod = host.pod(admitted=True, ips=("10.0.0.2",))
    await stop_sandbox(host.ctx, pod.id)
    stopped = host.now(pod)
    assert (stopped.state, stopped.ips, stopped.admitted) == (SandboxState.NOTREADY, (), False)
    assert stopped.stopping_since > 0
    assert host.network.detached == [pod.id]
    assert host.admission.told == [f"release {pod.spec.metadata.uid}"]
    [event] = await host.events(1)
    assert (event.container_id, event.type) == (pod.id, EventType.STOPPED)


async def test_two_stops_at_once_release_once(host: Host) -> None:
    async def pause() -> None:
        await asyncio.sleep(0)

    host.admission.pause = pause
    pod = host.pod(admitted=True)
    await asyncio.gather(*(stop_sandbox(host.ctx, pod.id) for _ in range(3)))
    assert host.now(pod).state is SandboxState.NOTREADY
    assert len(host.admission.told) == 1
    assert host.network.detached == [pod.id]


async def test_a_stop_that_failed_goes_on_from_where_it_was(host: Host) -> None:
    pod = host.pod(admitted=True)
    host.network.fails = RuntimeFailure("no answer")
    with pytest.raises(RuntimeFailure, match="no answer"):
        await stop_sandbox(host.ctx, pod.id)
    assert (host.now(pod).state, host.admission.told) == (SandboxState.STOPPING, [])
    host.network.fails = None
    await stop_sandbox(host.ctx, pod.id)
    assert host.now(pod).state is SandboxState.NOTREADY


async def test_a_stop_waits_for_a_create_in_the_pod(host: Host) -> None:
    """The addresses are another pod's as soon as they are given back."""
    pod = host.pod()
    creating = host.container(pod, ContainerState.CREATING)
    async with host.ctx.locks.hold(creating.id):
        stop = asyncio.ensure_future(stop_sandbox(host.ctx, pod.id))
        while host.now(pod).state is SandboxState.READY:
            await asyncio.sleep(0)
        assert host.network.detached == []
        host.ctx.store.delete_container(creating.id)
    await stop
    assert host.network.detached == [pod.id]


async def test_a_removal_takes_containers_and_files(host: Host) -> None:
    pod = host.pod()
    container = host.container(pod, ContainerState.EXITED, image_mounts=("sha256:x",))
    files = [host.ctx.directories.sandbox(pod.id), host.ctx.directories.bundle(container.id)]
    for directory in files:
        directory.mkdir(parents=True)
    host.runtime.has(container.id)
    await remove_sandbox(host.ctx, pod.id)
    assert (host.ctx.store.view.sandboxes, host.ctx.store.view.containers) == ({}, {})
    assert [directory.exists() for directory in files] == [False, False]
    assert host.runtime.calls == [f"delete {container.id}"]
    assert (host.images.released, host.images.unmounted) == ([container.id], ["sha256:x"])
    types = [(e.container_id, e.type) for e in await host.events(3)]
    assert types == [
        (pod.id, EventType.STOPPED),
        (container.id, EventType.DELETED),
        (pod.id, EventType.DELETED),
    ]


async def test_removals_at_once_all_succeed(host: Host) -> None:
    pod = host.pod()
    container = host.container(pod, ContainerState.EXITED)
    calls = [remove_sandbox(host.ctx, pod.id) for _ in range(3)]
    calls += [remove_container(host.ctx, container.id) for _ in range(3)]
    await asyncio.gather(*calls)
    assert (host.ctx.store.view.sandboxes, host.ctx.store.view.containers) == ({}, {})
    assert host.images.released == [container.id]


async def test_a_removal_finishes_the_undo_of_a_create(host: Host) -> None:
    """The undo may have been resisted before the addresses were given back."""
    pod = host.pod(SandboxState.REMOVING, admitted=True)
    await remove_sandbox(host.ctx, pod.id)
    assert host.network.detached == [pod.id]
    assert host.admission.told == [f"release {pod.spec.metadata.uid}"]
    assert host.ctx.store.view.sandboxes == {}


async def test_a_removal_that_failed_can_be_repeated(host: Host) -> None:
    container = host.container(host.pod(), ContainerState.EXITED)
    host.images.fails = RuntimeFailure("busy")
    with pytest.raises(RuntimeFailure, match="busy"):
        await remove_container(host.ctx, container.id)
    assert host.state(container) is ContainerState.REMOVING
    host.images.fails = None
    await remove_container(host.ctx, container.id)
    assert host.ctx.store.view.containers == {}


async def test_a_container_in_the_making_is_removed_once_it_is_made(host: Host) -> None:
    container = host.container(host.pod(), ContainerState.CREATING)
    async with host.ctx.locks.hold(container.id):
        removal = asyncio.ensure_future(remove_container(host.ctx, container.id))
        await asyncio.sleep(0)
        for state in (ContainerState.CREATED, ContainerState.EXITED):
            host.ctx.store.update_container(
                container.id, lambda now, s=state: replace(now, state=s)
            )
    await removal
    assert host.ctx.store.view.containers == {}
