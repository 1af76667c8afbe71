"""Limits at create and by update: what the kernel then has, what ContainerStatus says, refusals."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

MIB = 1 << 20
V1 = Path("/sys/fs/cgroup")
IDLE = ["/bin/sh", "-c", "while :; do sleep 1000; done"]


def limited(image: str, **fields: Any) -> cri.ContainerConfig:
    config = pods.container_config(image, IDLE)
    config.linux.resources.CopyFrom(resources(**fields))
    return config


def resources(
    unified: Mapping[str, str] | None = None,
    pages: Mapping[str, int] | None = None,
    **fields: Any,
) -> cri.LinuxContainerResources:
    found = cri.LinuxContainerResources(**fields)
    found.unified.update(unified or {})
    for size, limit in (pages or {}).items():
        found.hugepage_limits.add(page_size=size, limit=limit)
    return found


def kernel(shim: Shim, container: str, controller: str, name: str) -> str:
    """A file of the container's group, as the host sees it."""
    answer = shim.runtime.ContainerStatus(
        cri.ContainerStatusRequest(container_id=container, verbose=True)
    )
    group = str(answer.info["cgroup"]).lstrip("/")
    return (V1 / controller / group / name).read_text().strip()


def update(shim: Shim, container: str, **fields: Any) -> None:
    request = cri.UpdateContainerResourcesRequest(container_id=container, linux=resources(**fields))
    shim.runtime.UpdateContainerResources(request)


def refused(shim: Shim, container: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        update(shim, container, **fields)
    return error.value.code(), error.value.details() or ""


def shown(shim: Shim, container: str) -> cri.LinuxContainerResources:
    return pods.status(shim, container).resources.linux


def test_limits_reach_the_kernel(shim: Shim, pod: str, image: str) -> None:
    config = limited(
        image,
        cpu_shares=512,
        cpu_quota=25_000,
        cpu_period=50_000,
        cpuset_cpus="0",
        cpuset_mems="0",
        memory_limit_in_bytes=64 * MIB,
        oom_score_adj=500,
        unified={"pids.max": "77", "memory.oom.group": "1"},
        pages={"2MB": 4 * MIB, "1GB": 0},
    )
    container = pods.run_container(shim, pod, config)
    expected = {
        ("cpu", "cpu.shares"): "512",
        ("cpu", "cpu.cfs_quota_us"): "25000",
        ("cpu", "cpu.cfs_period_us"): "50000",
        ("cpuset", "cpuset.cpus"): "0",
        ("cpuset", "cpuset.mems"): "0",
        ("memory", "memory.limit_in_bytes"): str(64 * MIB),
        ("pids", "pids.max"): "77",
    }
    found = {where: kernel(shim, container, *where) for where in expected}
    assert found == expected
    assert pods.execute(shim, container, "cat", "/proc/1/oom_score_adj").stdout == b"500\n"
    assert shown(shim, container) == config.linux.resources


def test_swap_is_limited_where_it_is_accounted(shim: Shim, pod: str, image: str) -> None:
    limit = 64 * MIB
    config = limited(image, memory_limit_in_bytes=limit, memory_swap_limit_in_bytes=limit + 8 * MIB)
    container = pods.run_container(shim, pod, config)
    assert shown(shim, container).memory_swap_limit_in_bytes == limit + 8 * MIB
    if (V1 / "memory/memory.memsw.limit_in_bytes").exists():
        both = kernel(shim, container, "memory", "memory.memsw.limit_in_bytes")
        assert both == str(limit + 8 * MIB)


def test_a_score_below_ours_is_raised_to_it(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, limited(image, oom_score_adj=-999))
    answer = pods.execute(shim, container, "cat", "/proc/1/oom_score_adj")
    own = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(answer.stdout) in (-999, own)
    assert shown(shim, container).oom_score_adj == -999


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"unified": {"memory.high": "1000"}}, "memory.high"),
        ({"unified": {"cgroup.procs": "1"}}, "cgroup.procs"),
        ({"unified": {"pids.max": "many"}}, "pids.max"),
        ({"pages": {"3MB": 4 * MIB}}, "3MB"),
        ({"cpuset_cpus": "4000"}, "cpuset_cpus"),
        ({"cpuset_mems": "900"}, "cpuset_mems"),
        ({"memory_limit_in_bytes": 4096}, "memory_limit_in_bytes"),
        ({"memory_swap_limit_in_bytes": 4096}, "memory_limit_in_bytes"),
        ({"cpu_quota": 2**61}, "cpu_quota"),
        ({"cpu_shares": -1}, "cpu_shares"),
    ],
)
def test_what_cannot_be_met_is_refused(
    shim: Shim, pod: str, image: str, fields: dict[str, Any], words: str
) -> None:
    before = shim.leftovers()
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, limited(image, **fields))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT, error.value.details()
    assert words in (error.value.details() or "")
    assert shim.leftovers() == before


@pytest.mark.parametrize("started", [False, True], ids=["created", "running"])
def test_update(shim: Shim, pod: str, image: str, started: bool) -> None:
    container = pods.create(
        shim, pod, limited(image, cpu_shares=100, memory_limit_in_bytes=32 * MIB)
    )
    if started:
        pods.start(shim, container)
    update(
        shim,
        container,
        cpu_shares=300,
        cpu_quota=30_000,
        cpu_period=60_000,
        cpuset_cpus="0",
        memory_limit_in_bytes=48 * MIB,
    )
    assert kernel(shim, container, "cpu", "cpu.shares") == "300"
    assert kernel(shim, container, "cpu", "cpu.cfs_quota_us") == "30000"
    assert kernel(shim, container, "cpuset", "cpuset.cpus") == "0"
    assert kernel(shim, container, "memory", "memory.limit_in_bytes") == str(48 * MIB)
    now = shown(shim, container)
    assert (now.cpu_shares, now.cpu_quota, now.cpuset_cpus) == (300, 30_000, "0")
    assert now.memory_limit_in_bytes == 48 * MIB
    update(shim, container, cpu_shares=400, cpu_quota=-1, oom_score_adj=700)
    assert kernel(shim, container, "cpu", "cpu.cfs_quota_us") == "-1"
    assert kernel(shim, container, "memory", "memory.limit_in_bytes") == str(48 * MIB)
    assert shown(shim, container).memory_limit_in_bytes == 48 * MIB
    if not started:
        pods.start(shim, container)
        assert kernel(shim, container, "cpu", "cpu.shares") == "400"
    assert pods.execute(shim, container, "cat", "/proc/1/oom_score_adj").stdout == b"700\n"


def test_update_below_the_present_use(shim: Shim, pod: str, image: str) -> None:
    fill = "dd if=/dev/zero of=/dev/shm/f bs=1M count=24; touch /ready; sleep 1000"
    config = pods.container_config(image, ["/bin/sh", "-c", fill])
    config.linux.resources.memory_limit_in_bytes = 64 * MIB
    container = pods.run_container(shim, pod, config)
    pods.until(lambda: pods.execute(shim, container, "test", "-e", "/ready").exit_code == 0, "full")
    code, text = refused(shim, container, memory_limit_in_bytes=8 * MIB, cpu_shares=999)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(8 * MIB) in text and "uses now" in text
    assert kernel(shim, container, "memory", "memory.limit_in_bytes") == str(64 * MIB)
    assert kernel(shim, container, "cpu", "cpu.shares") == "1024"
    assert shown(shim, container) == config.linux.resources


def test_an_update_that_the_kernel_refuses_changes_nothing(
    shim: Shim, handler: str, image: str
) -> None:
    """The pod's group has less than the container asks for: only the kernel can know."""
    config = pods.pod_config()
    config.linux.cgroup_parent = f"/narrow-{handler}"
    pod_id = pods.run_pod(shim, config, handler)
    container = pods.run_container(shim, pod_id, limited(image, cpu_shares=100, cpu_quota=10_000))
    parent = V1 / "cpu" / f"narrow-{handler}"
    (parent / "cpu.cfs_quota_us").write_text("20000")
    code, text = refused(shim, container, cpu_quota=50_000, cpu_shares=700)
    assert code is grpc.StatusCode.INVALID_ARGUMENT, text
    assert "50000" in text and "20000" in text
    (parent / "cpu.cfs_quota_us").write_text("-1")
    before = shown(shim, container)
    assert (before.cpu_quota, before.cpu_shares) == (10_000, 100)
    assert kernel(shim, container, "cpu", "cpu.shares") == "100"
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def test_update_of_what_has_ended(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, limited(image))
    pods.stop(shim, container)
    code, text = refused(shim, container, cpu_shares=5)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "exited" in text
    code, _ = refused(shim, "none", cpu_shares=5)
    assert code is grpc.StatusCode.NOT_FOUND


def test_pod_resources_are_remembered(shim: Shim, handler: str) -> None:
    pod_id = pods.run_pod(shim, handler=handler)
    shim.runtime.UpdatePodSandboxResources(
        cri.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=pod_id,
            overhead=resources(cpu_shares=11),
            resources=resources(memory_limit_in_bytes=123 * MIB, unified={"memory.high": "9"}),
        )
    )
    before = info(shim, pod_id)
    assert '"memoryLimitInBytes": "128974848"' in before["resources"]
    assert '"cpuShares": "11"' in before["overhead"]
    shim.restart()
    assert info(shim, pod_id) == before
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def info(shim: Shim, pod_id: str) -> Mapping[str, str]:
    request = cri.PodSandboxStatusRequest(pod_sandbox_id=pod_id, verbose=True)
    return dict(shim.runtime.PodSandboxStatus(request).info)
