"""Short ways to make CRI messages and to run pods and containers in tests."""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support.shim import Shim

_numbers = itertools.count()

PARENT = f"/berth-test-{os.getpid()}"
"""The cgroup of this run's pods: other runs on the host have their own."""


def pod_config(name: str = "", host_network: bool = True, **fields: Any) -> cri.PodSandboxConfig:
    """A pod of its own name; on the host's network unless said otherwise."""
    name = name or f"pod-{next(_numbers)}"
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="test"), **fields
    )
    config.linux.cgroup_parent = config.linux.cgroup_parent or PARENT
    if host_network:
        config.linux.security_context.namespace_options.network = cri.NODE
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def privileged() -> cri.PodSandboxConfig:
    """A pod that may hold privileged containers."""
    config = pod_config()
    config.linux.security_context.privileged = True
    return config


def container_config(
    image: str, command: Sequence[str] = ("/bin/sleep", "1000"), name: str = "c", **fields: Any
) -> cri.ContainerConfig:
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=name),
        image=cri.ImageSpec(image=image),
        command=command,
        **fields,
    )
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def share_network(config: cri.ContainerConfig, pod: cri.PodSandboxConfig) -> None:
    """A container's network and IPC must be its pod's."""
    mine = config.linux.security_context.namespace_options
    theirs = pod.linux.security_context.namespace_options
    mine.network, mine.ipc = theirs.network, theirs.ipc


def run_pod(shim: Shim, config: cri.PodSandboxConfig | None = None, handler: str = "") -> str:
    request = cri.RunPodSandboxRequest(config=config or pod_config(), runtime_handler=handler)
    return str(shim.runtime.RunPodSandbox(request).pod_sandbox_id)


def remove_pod(shim: Shim, pod_id: str) -> None:
    """Remove a pod with its containers; nothing happens where it is gone."""
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def create(
    shim: Shim, pod_id: str, config: cri.ContainerConfig, pod: cri.PodSandboxConfig | None = None
) -> str:
    share_network(config, pod or pod_config())
    request = cri.CreateContainerRequest(pod_sandbox_id=pod_id, config=config, sandbox_config=pod)
    return str(shim.runtime.CreateContainer(request).container_id)


def refused_create(
    shim: Shim, pod_id: str, config: cri.ContainerConfig
) -> tuple[grpc.StatusCode, str]:
    """Code and text of a create that must fail and leave no container in the pod."""
    with pytest.raises(grpc.RpcError) as error:
        create(shim, pod_id, config)
    request = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=pod_id))
    assert list(shim.runtime.ListContainers(request).containers) == []
    return error.value.code(), error.value.details() or ""


def start(shim: Shim, container_id: str) -> None:
    shim.runtime.StartContainer(cri.StartContainerRequest(container_id=container_id))


def run_container(
    shim: Shim, pod_id: str, config: cri.ContainerConfig, pod: cri.PodSandboxConfig | None = None
) -> str:
    container_id = create(shim, pod_id, config, pod)
    start(shim, container_id)
    return container_id


def stop(shim: Shim, container_id: str, timeout: int = 0) -> None:
    shim.runtime.StopContainer(cri.StopContainerRequest(container_id=container_id, timeout=timeout))


def status(shim: Shim, container_id: str) -> cri.ContainerStatus:
    request = cri.ContainerStatusRequest(container_id=container_id)
    return shim.runtime.ContainerStatus(request).status


def execute(shim: Shim, container_id: str, *command: str, timeout: int = 10) -> Any:
    request = cri.ExecSyncRequest(container_id=container_id, cmd=command, timeout=timeout)
    return shim.runtime.ExecSync(request)


def run_script(shim: Shim, pod_id: str, config: cri.ContainerConfig, script: str) -> str:
    """What the script prints (errors too) in a container of its own that goes away again."""
    container = run_container(shim, pod_id, config)
    done = execute(shim, container, "/bin/sh", "-c", f"exec 2>&1; {script}")
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    return str(done.stdout.decode())


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for a condition that an event elsewhere brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.005)


def until_exited(shim: Shim, container_id: str) -> cri.ContainerStatus:
    until(
        lambda: status(shim, container_id).state == cri.CONTAINER_EXITED,
        f"container {container_id[:12]} exited",
    )
    return status(shim, container_id)
