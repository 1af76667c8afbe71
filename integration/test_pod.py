"""A pod and a container through the socket, from RunPodSandbox to RemovePodSandbox."""

from pathlib import Path

import grpc
import pytest

from cri_shim.pb import runtime_v1_pb2 as cri
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
