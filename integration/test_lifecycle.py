"""States, idempotence and stopping, as the kubelet relies on them."""

import time

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

LOOP = "touch /ready; while :; do sleep 0.05; done"
OBEYS = ["/bin/sh", "-c", f"trap 'exit 5' TERM; {LOOP}"]
IGNORES = ["/bin/sh", "-c", f"trap '' TERM; {LOOP}"]


def until_ready(shim: Shim, container: str) -> None:
    """The script has set its traps: a signal before that would find none."""
    pods.until(
        lambda: pods.execute(shim, container, "test", "-e", "/ready").exit_code == 0, "ready"
    )


def test_states(shim: Shim, pod: str, image: str) -> None:
    container = pods.create(shim, pod, pods.container_config(image))
    assert pods.status(shim, container).state == cri.CONTAINER_CREATED
    pods.start(shim, container)
    running = pods.status(shim, container)
    assert running.state == cri.CONTAINER_RUNNING
    assert 0 < running.created_at < running.started_at < time.time_ns()
    with pytest.raises(grpc.RpcError) as error:
        pods.start(shim, container)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    pods.stop(shim, container)
    ended = pods.status(shim, container)
    assert (ended.state, ended.exit_code, ended.reason) == (cri.CONTAINER_EXITED, 137, "Error")
    assert ended.finished_at > ended.started_at


def test_stop_signal_reaches_the_process(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, pods.container_config(image, OBEYS))
    until_ready(shim, container)
    pods.stop(shim, container, timeout=30)
    assert pods.status(shim, container).exit_code == 5


def test_a_shorter_grace_overrides(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, pods.container_config(image, IGNORES))
    until_ready(shim, container)
    long = shim.runtime.StopContainer.future(
        cri.StopContainerRequest(container_id=container, timeout=600)
    )
    pods.stop(shim, container, timeout=0)
    long.result(timeout=10)
    assert pods.status(shim, container).exit_code == 137


def test_stopping_a_created_container(shim: Shim, pod: str, image: str) -> None:
    container = pods.create(shim, pod, pods.container_config(image))
    pods.stop(shim, container, timeout=10)
    assert pods.status(shim, container).state == cri.CONTAINER_EXITED


def test_everything_is_idempotent(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, pods.container_config(image))
    for _ in range(2):
        pods.stop(shim, container)
    for _ in range(2):
        shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    for _ in range(2):
        shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod))
    for _ in range(2):
        shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
    pods.stop(shim, "none")
    shim.images.RemoveImage(cri.RemoveImageRequest(image=cri.ImageSpec(image="none.org/x:1")))


def test_removing_a_running_container_kills_it(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, pods.container_config(image, IGNORES))
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    answer = shim.runtime.ListContainers(
        cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=pod))
    )
    assert list(answer.containers) == []


def test_a_stopped_pod_takes_no_containers(shim: Shim, pod: str, image: str) -> None:
    shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod))
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, pods.container_config(image))
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_lists_filter(shim: Shim, pod: str, image: str) -> None:
    config = pods.container_config(image, labels={"k": "v"})
    container = pods.run_container(shim, pod, config)
    for filter_, found in (
        (cri.ContainerFilter(id=container[:10]), True),
        (cri.ContainerFilter(id="none"), False),
        (cri.ContainerFilter(label_selector={"k": "v"}), True),
        (cri.ContainerFilter(label_selector={"k": "w"}), False),
        (cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_RUNNING)), True),
        (cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_EXITED)), False),
    ):
        answer = shim.runtime.ListContainers(cri.ListContainersRequest(filter=filter_))
        assert (container in [c.id for c in answer.containers]) is found, filter_
    ready = cri.PodSandboxFilter(state=cri.PodSandboxStateValue(state=cri.SANDBOX_READY))
    answer = shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest(filter=ready))
    assert pod in [p.id for p in answer.items]


def test_containers_share_processes_behind_a_reaping_init(
    shim: Shim, image: str, handler: str
) -> None:
    config = pods.pod_config(host_network=False)
    pod_id = pods.run_pod(shim, config, handler)
    container = pods.container_config(image)
    container.linux.security_context.namespace_options.pid = cri.POD
    first = pods.run_container(shim, pod_id, container, config)
    container.metadata.name = "second"
    second = pods.run_container(shim, pod_id, container, config)
    listing = pods.execute(shim, second, "ps", "-o", "pid,args").stdout.decode()
    assert "/init -P" in listing
    assert listing.count("sleep 1000") == 2
    pods.stop(shim, first)
    assert pods.status(shim, second).state == cri.CONTAINER_RUNNING
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def test_pod_of_its_own_network_has_loopback_and_hostname(
    shim: Shim, image: str, handler: str
) -> None:
    config = pods.pod_config(host_network=False, hostname="berth-pod")
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    config.linux.sysctls["net.ipv4.ip_unprivileged_port_start"] = "99"
    config.dns_config.servers.append("192.0.2.1")
    config.dns_config.searches.append("svc.local")
    pod_id = pods.run_pod(shim, config, handler)
    container = pods.run_container(shim, pod_id, pods.container_config(image), config)
    script = (
        "hostname; cat /etc/hostname /etc/resolv.conf; "
        "ping -c1 -W1 127.0.0.1 >/dev/null && echo up;"
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; df -k /dev/shm | tail -1"
    )
    answer = pods.execute(shim, container, "/bin/sh", "-c", script).stdout.decode()
    assert answer.splitlines()[:6] == [
        "berth-pod", "berth-pod", "search svc.local", "nameserver 192.0.2.1", "up", "99",
    ]  # fmt: skip
    assert " 65536 " in answer
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))
