"""UpdateContainerResources and UpdatePodSandboxResources."""

import pytest

from berth.base.errors import FailedPrecondition
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.resources import LinuxResources
from cri_shim.verbs.update_resources import update_container, update_sandbox
from tests.support.context import Host


@pytest.mark.parametrize("state", [ContainerState.EXITED])
async def test_only_a_living_container_is_updated(host: Host, state: ContainerState) -> None:
    container = host.container(host.pod(), state)
    with pytest.raises(FailedPrecondition, match=f"is {state.value}: only a created or running"):
        await update_container(host.ctx, container.id, LinuxResources(cpu_shares=512))


async def test_a_pod_remembers_what_the_kubelet_set(host: Host) -> None:
    pod = host.pod()
    overhead, resources = LinuxResources(cpu_shares=2), LinuxResources(memory_limit=1 << 20)
    await update_sandbox(host.ctx, pod.id, overhead, resources)
    assert (host.now(pod).spec.overhead, host.now(pod).spec.resources) == (overhead, resources)
