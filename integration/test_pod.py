"""A pod and a container through the socket, from RunPodSandbox to RemovePodSandbox."""

from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim


def test_a_pod_runs(shim: Shim, image: str, handler: str, tmp_path: Path) -> None:
    config = pods.pod_config(log_directory=str(tmp_path), labels={"a": "b"})
    pod = pods.run_pod(shim, config, handler)
    found = shim.runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=pod))
    assert found.status.state == cri.SANDBOX_READY
    assert dict(found.status.labels) == {"a": "b"}
    command = ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]
    container = pods.run_container(
        shim, pod, pods.container_config(image, command, log_path="c.log"), config
    )
    ended = pods.until_exited(shim, container)
    assert (ended.exit_code, ended.reason) == (3, "Error")
    lines = (tmp_path / "c.log").read_text().splitlines()
    assert sorted(line.split(" ", 1)[1] for line in lines) == ["stderr F err", "stdout F out"]
    shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod))
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
    with pytest.raises(grpc.RpcError) as error:
        pods.status(shim, container)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_exec_sync(shim: Shim, image: str, handler: str) -> None:
    pod = pods.run_pod(shim, handler=handler)
    container = pods.run_container(shim, pod, pods.container_config(image))
    answer = pods.execute(shim, container, "/bin/sh", "-c", "echo hi; echo no >&2; exit 7")
    assert (answer.stdout, answer.stderr, answer.exit_code) == (b"hi\n", b"no\n", 7)


def test_a_container_that_leaves_its_namespaces_open(shim: Shim, image: str, handler: str) -> None:
    """POD, the default of each field, is what the pod has: here the host's network."""
    config = pods.pod_config()
    pod = pods.run_pod(shim, config, handler)
    container = pods.container_config(image)
    request = cri.CreateContainerRequest(
        pod_sandbox_id=pod, config=container, sandbox_config=config
    )
    id_ = shim.runtime.CreateContainer(request).container_id
    pods.start(shim, id_)
    answer = pods.execute(shim, id_, "readlink", "/proc/self/ns/net")
    assert answer.stdout.decode().strip() == str(Path("/proc/self/ns/net").readlink())


def test_the_host_network_is_the_pods_to_take(shim: Shim, image: str) -> None:
    config = pods.pod_config(host_network=False)
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    pod = pods.run_pod(shim, config)
    container = pods.container_config(image)
    container.linux.security_context.namespace_options.network = cri.NODE
    request = cri.CreateContainerRequest(
        pod_sandbox_id=pod, config=container, sandbox_config=config
    )
    with pytest.raises(grpc.RpcError) as error:
        shim.runtime.CreateContainer(request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "namespace_options.network" in str(error.value.details())


def test_disk_series_of_a_new_container(shim: Shim, image: str) -> None:
    pod = pods.run_pod(shim)
    container = pods.run_container(shim, pod, pods.container_config(image))
    found = shim.runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest()).pod_metrics
    names = {
        metric.name
        for metrics in found
        for one in metrics.container_metrics
        if one.container_id == container
        for metric in one.metrics
    }
    assert {"container_fs_usage_bytes", "container_fs_inodes_free"} <= names
