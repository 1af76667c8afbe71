"""Stats of containers and pods: every field that this host can give, and lists that never fail."""

import os
import time
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

MIB = 1 << 20
BUSY = ["/bin/sh", "-c", "while :; do :; done"]


def remove(shim: Shim, pod_id: str) -> None:
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def stats(shim: Shim, container: str) -> cri.ContainerStats:
    request = cri.ContainerStatsRequest(container_id=container)
    found: cri.ContainerStats = shim.runtime.ContainerStats(request).stats
    return found


def listed(shim: Shim, **filter_: object) -> list[cri.ContainerStats]:
    wanted = cri.ContainerStatsFilter(**filter_)  # type: ignore[arg-type]  # names are the test's
    request = cri.ListContainerStatsRequest(filter=wanted)
    return list(shim.runtime.ListContainerStats(request).stats)


def pod_stats(shim: Shim, pod_id: str) -> cri.PodSandboxStats:
    request = cri.PodSandboxStatsRequest(pod_sandbox_id=pod_id)
    found: cri.PodSandboxStats = shim.runtime.PodSandboxStats(request).stats
    return found


def close_to_now(nanoseconds: int) -> bool:
    return abs(time.time_ns() - nanoseconds) < 60 * 10**9


def test_cpu_and_memory(shim: Shim, pod: str, image: str) -> None:
    config = pods.container_config(image, BUSY, labels={"a": "b"}, annotations={"note": "x"})
    config.linux.resources.memory_limit_in_bytes = 64 * MIB
    config.linux.resources.memory_swap_limit_in_bytes = 64 * MIB
    container = pods.run_container(shim, pod, config)
    pods.until(lambda: stats(shim, container).cpu.HasField("usage_nano_cores"), "a rate")
    found = stats(shim, container)
    assert found.attributes.id == container
    assert (found.attributes.metadata.name, found.attributes.labels["a"]) == ("c", "b")
    assert found.attributes.annotations["note"] == "x"
    assert close_to_now(found.cpu.timestamp) and close_to_now(found.memory.timestamp)
    assert found.cpu.usage_core_nano_seconds.value > 10**7
    assert 10**7 < found.cpu.usage_nano_cores.value < 3 * 10**9
    memory = found.memory
    assert 0 < memory.working_set_bytes.value <= memory.usage_bytes.value < 64 * MIB
    assert memory.available_bytes.value == 64 * MIB - memory.working_set_bytes.value
    assert memory.rss_bytes.value > 0
    assert memory.page_faults.value > 0
    assert memory.HasField("major_page_faults")
    assert found.swap.swap_usage_bytes.value == 0
    used = found.cpu.usage_core_nano_seconds.value
    pods.until(lambda: stats(shim, container).cpu.usage_core_nano_seconds.value > used, "more")
    assert stats(shim, container).cpu.timestamp > found.cpu.timestamp


def test_no_rate_in_the_first_second_of_an_idle_one(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, pods.container_config(image))
    pods.until(lambda: stats(shim, container).cpu.HasField("usage_nano_cores"), "a rate")
    assert stats(shim, container).cpu.usage_nano_cores.value < 10**8


def test_the_writable_layer(shim: Shim, pod: str, image: str) -> None:
    """Walked in the background: the first answer waits for it, the list has it soon after."""
    write = "dd if=/dev/zero of=/file bs=1M count=5 && mkdir /d && touch /d/a && sleep 1000"
    container = pods.run_container(
        shim, pod, pods.container_config(image, ["/bin/sh", "-c", write])
    )
    written = ("test", "-e", "/d/a")
    pods.until(lambda: pods.execute(shim, container, *written).exit_code == 0, "written")
    layer = stats(shim, container).writable_layer
    assert 5 * MIB <= layer.used_bytes.value < 6 * MIB
    assert layer.inodes_used.value >= 3
    assert close_to_now(layer.timestamp)
    assert os.path.isdir(layer.fs_id.mountpoint)
    [entry] = listed(shim, id=container)
    assert entry.writable_layer.used_bytes.value == layer.used_bytes.value


def test_lists_filter(shim: Shim, pod: str, image: str, handler: str) -> None:
    other = pods.run_pod(shim, handler=handler)
    first = pods.run_container(shim, pod, pods.container_config(image, labels={"k": "1"}))
    second = pods.run_container(shim, other, pods.container_config(image, labels={"k": "2"}))
    created = pods.create(shim, pod, pods.container_config(image, name="created"))

    def ids(**filter_: object) -> set[str]:
        return {s.attributes.id for s in listed(shim, **filter_)}

    assert ids() == {first, second}
    assert ids(id=first[:12]) == {first}
    assert ids(pod_sandbox_id=other) == {second}
    assert ids(label_selector={"k": "1"}) == {first}
    assert ids(label_selector={"k": "3"}) == set()
    assert ids(id=created) == set()
    assert stats(shim, created).attributes.id == created
    remove(shim, other)


def test_a_broken_container_does_not_fail_the_list(shim: Shim, pod: str, image: str) -> None:
    """Its groups go away under us, as they do between an exit and its record."""
    good = pods.run_container(shim, pod, pods.container_config(image))
    bad = pods.run_container(shim, pod, pods.container_config(image, name="bad"))
    verbose = cri.ContainerStatusRequest(container_id=bad, verbose=True)
    info = shim.runtime.ContainerStatus(verbose).info
    group = Path("/sys/fs/cgroup/cpuacct") / info["cgroup"].lstrip("/")
    (group.parent / "cgroup.procs").write_text(info["pid"])
    group.rmdir()
    assert {s.attributes.id for s in listed(shim)} >= {good}
    assert bad not in {s.attributes.id for s in listed(shim)}
    assert pod_stats(shim, pod).attributes.id == pod
    assert stats(shim, bad).attributes.id == bad


def test_a_pod(shim: Shim, handler: str, image: str) -> None:
    config = pods.pod_config(host_network=False, labels={"p": "q"}, annotations={"note": "y"})
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    config.linux.cgroup_parent = f"{pods.PARENT}-stats"
    pod_id = pods.run_pod(shim, config, handler)
    names = ("a", "b")
    configs = [pods.container_config(image, BUSY, name=name) for name in names]
    containers = [pods.run_container(shim, pod_id, c, config) for c in configs]
    pods.until(lambda: pod_stats(shim, pod_id).linux.cpu.HasField("usage_nano_cores"), "a rate")
    found = pod_stats(shim, pod_id)
    assert found.attributes.metadata.name == config.metadata.name
    assert (found.attributes.labels["p"], found.attributes.annotations["note"]) == ("q", "y")
    linux = found.linux
    assert {c.attributes.id for c in linux.containers} == set(containers)
    assert linux.process.process_count.value == len(names)
    parts = [c.cpu.usage_core_nano_seconds.value for c in linux.containers]
    assert linux.cpu.usage_core_nano_seconds.value >= max(parts) > 0
    assert linux.memory.usage_bytes.value > 0
    assert linux.HasField("network") and close_to_now(linux.network.timestamp)
    assert not linux.network.HasField("default_interface")  # network mode none: only loopback
    remove(shim, pod_id)


def test_pod_lists_filter(shim: Shim, handler: str) -> None:
    first = pods.run_pod(shim, pods.pod_config(labels={"k": "1"}), handler)
    second = pods.run_pod(shim, pods.pod_config(labels={"k": "2"}), handler)

    def ids(**filter_: object) -> set[str]:
        wanted = cri.PodSandboxStatsFilter(**filter_)  # type: ignore[arg-type]  # as above
        request = cri.ListPodSandboxStatsRequest(filter=wanted)
        return {s.attributes.id for s in shim.runtime.ListPodSandboxStats(request).stats}

    assert ids() == {first, second}
    assert ids(id=first[:12]) == {first}
    assert ids(label_selector={"k": "2"}) == {second}
    shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=first))
    assert ids() == {second}
    for pod_id in (first, second):
        remove(shim, pod_id)


def test_what_is_not_there(shim: Shim) -> None:
    for call in (lambda: stats(shim, "none"), lambda: pod_stats(shim, "none")):
        with pytest.raises(grpc.RpcError) as error:
            call()
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
