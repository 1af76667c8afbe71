"""Namespaces of pods and containers: HOST, POD, CONTAINER and TARGET, and the sysctls in them."""

import os
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

KINDS = ("net", "ipc", "uts", "pid", "mnt")


def isolated() -> cri.PodSandboxConfig:
    """Everything its own, and no PID namespace to share."""
    config = pods.pod_config(host_network=False, hostname="berth-ns")
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


pytestmark = pytest.mark.pod(config=isolated)


def spaces(shim: Shim, container: str) -> dict[str, str]:
    """Namespaces of a process of the container by kind, as links of /proc."""
    script = "cd /proc/self/ns; for kind; do readlink $kind; done"
    answer = pods.execute(shim, container, "/bin/sh", "-c", script, "sh", *KINDS)
    return dict(zip(KINDS, answer.stdout.decode().split(), strict=True))


def host_spaces() -> dict[str, str]:
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}


def joining(image: str, target_id: str, name: str = "debug") -> cri.ContainerConfig:
    config = pods.container_config(image, name=name)
    options = config.linux.security_context.namespace_options
    options.pid, options.target_id = cri.TARGET, target_id
    return config


def refusal(
    shim: Shim, pod: str, container: cri.ContainerConfig, config: cri.PodSandboxConfig
) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, container, config)
    return error.value.code(), error.value.details() or ""


def remove(shim: Shim, *containers: str) -> None:
    for container in containers:
        shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


def test_what_containers_of_a_pod_share(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, image: str
) -> None:
    first = pods.run_container(shim, pod, pods.container_config(image), pod_config)
    second = pods.run_container(shim, pod, pods.container_config(image, name="d"), pod_config)
    ours, mine, theirs = host_spaces(), spaces(shim, first), spaces(shim, second)
    for kind in ("net", "ipc", "uts"):
        assert ours[kind] != mine[kind] == theirs[kind], kind
    for kind in ("pid", "mnt"):
        assert len({ours[kind], mine[kind], theirs[kind]}) == 3, kind
    pods.execute(shim, first, "touch", "/dev/shm/shared")
    assert pods.execute(shim, second, "test", "-e", "/dev/shm/shared").exit_code == 0
    assert pods.execute(shim, second, "cat", "/proc/1/comm").stdout == b"sleep\n"
    remove(shim, first, second)


def test_the_hosts(shim: Shim, handler: str, image: str) -> None:
    config = pods.pod_config()
    options = config.linux.security_context.namespace_options
    options.pid, options.ipc = cri.NODE, cri.NODE
    pod = pods.run_pod(shim, config, handler)
    wanted = pods.container_config(image)
    wanted.linux.security_context.namespace_options.CopyFrom(options)
    container = pods.run_container(shim, pod, wanted, config)
    found = spaces(shim, container)
    ours = host_spaces()
    assert {kind for kind in KINDS if found[kind] == ours[kind]} == {"net", "ipc", "uts", "pid"}
    assert pods.execute(shim, container, "test", "-d", f"/proc/{os.getpid()}").exit_code == 0
    name = f"berth-{os.getpid()}"
    assert pods.execute(shim, container, "touch", f"/dev/shm/{name}").exit_code == 0
    Path("/dev/shm", name).unlink()
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def test_a_target(shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, image: str) -> None:
    target = pods.run_container(shim, pod, pods.container_config(image), pod_config)
    debug = pods.run_container(shim, pod, joining(image, target), pod_config)
    assert spaces(shim, debug)["pid"] == spaces(shim, target)["pid"]
    assert spaces(shim, debug)["mnt"] != spaces(shim, target)["mnt"]
    listing = pods.execute(shim, debug, "ps", "-o", "pid,args").stdout.decode()
    assert listing.count("sleep 1000") == 2
    pods.stop(shim, debug)
    assert pods.status(shim, target).state == cri.CONTAINER_RUNNING
    remove(shim, debug, target)


def test_a_target_takes_those_that_joined_with_it(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, image: str
) -> None:
    target = pods.run_container(shim, pod, pods.container_config(image), pod_config)
    running = pods.run_container(shim, pod, joining(image, target), pod_config)
    created = pods.create(shim, pod, joining(image, target, "later"), pod_config)
    pods.stop(shim, target)
    assert pods.until_exited(shim, running).exit_code == 137
    with pytest.raises(grpc.RpcError) as error:
        pods.start(shim, created)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "target_id: container c is exited" in (error.value.details() or "")
    code, text = refusal(shim, pod, joining(image, target, "latest"), pod_config)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "it must run" in text
    remove(shim, created, running, target)


def test_targets_that_are_none(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, image: str, handler: str
) -> None:
    other = pods.run_pod(shim, handler=handler)
    stranger = pods.run_container(shim, other, pods.container_config(image))
    for target, word in (("", "is empty"), ("none", "none"), (stranger, "of another pod")):
        code, text = refusal(shim, pod, joining(image, target), pod_config)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "target_id" in text
        assert word in text
    created = pods.create(shim, pod, pods.container_config(image), pod_config)
    code, text = refusal(shim, pod, joining(image, created), pod_config)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    remove(shim, created)
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=other))


@pytest.mark.parametrize(
    ("field", "mode"),
    [
        ("network", cri.NODE),
        ("ipc", cri.NODE),
        ("network", cri.CONTAINER),
        ("ipc", cri.TARGET),
        ("pid", cri.POD),
        ("pid", 9),
    ],
)
def test_modes_that_do_not_fit(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, image: str, field: str, mode: int
) -> None:
    wanted = pods.container_config(image)
    setattr(wanted.linux.security_context.namespace_options, field, mode)
    request = cri.CreateContainerRequest(
        pod_sandbox_id=pod, config=wanted, sandbox_config=pod_config
    )
    with pytest.raises(grpc.RpcError) as error:
        shim.runtime.CreateContainer(request)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"namespace_options.{field}" in (error.value.details() or "")


@pytest.mark.parametrize(
    ("field", "mode"), [("pid", cri.TARGET), ("network", cri.TARGET), ("ipc", cri.CONTAINER)]
)
def test_modes_that_no_pod_has(shim: Shim, field: str, mode: int) -> None:
    config = pods.pod_config()
    setattr(config.linux.security_context.namespace_options, field, mode)
    with pytest.raises(grpc.RpcError) as error:
        pods.run_pod(shim, config)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"namespace_options.{field}" in (error.value.details() or "")


SYSCTLS = {
    "net.ipv4.ip_local_port_range": "20000\t30000",
    "net/core/somaxconn": "333",
    "kernel.shm_rmid_forced": "1",
    "kernel.msgmax": "12345",
    "kernel.sem": "250\t32000\t33\t128",
    "fs.mqueue.msg_max": "77",
    "net.ipv4.ip_unprivileged_port_start": "81",
}


def test_sysctls(shim: Shim, image: str, handler: str) -> None:
    """Safe and unsafe ones, in both spellings; the host's stay what they were."""
    before = {key: sysctl(key) for key in SYSCTLS}
    config = pods.pod_config(host_network=False)
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    config.linux.sysctls.update(SYSCTLS)
    pod = pods.run_pod(shim, config, handler)
    container = pods.run_container(shim, pod, pods.container_config(image), config)
    paths = [f"/proc/sys/{key.replace('.', '/')}" for key in SYSCTLS]
    answer = pods.execute(shim, container, "cat", *paths)
    assert answer.stdout.decode().splitlines() == list(SYSCTLS.values())
    assert {key: sysctl(key) for key in SYSCTLS} == before
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def sysctl(key: str) -> str:
    return Path("/proc/sys", key.replace(".", "/")).read_text()


def test_low_ports_and_ping_need_no_root(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, image: str
) -> None:
    wanted = pods.container_config(image)
    wanted.linux.security_context.run_as_user.value = 1000
    wanted.linux.security_context.capabilities.drop_capabilities.append("ALL")
    container = pods.run_container(shim, pod, wanted, pod_config)
    paths = ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/net/ipv4/ping_group_range")
    answer = pods.execute(shim, container, "cat", *paths)
    assert answer.stdout.decode().split() == ["0", "0", "2147483647"]
    answer = pods.execute(shim, container, "httpd", "-p", "127.0.0.1:80", "-h", "/tmp")
    assert answer.exit_code == 0, answer.stderr
    remove(shim, container)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("kernel.panic", "5", "not namespaced"),
        ("vm.swappiness", "5", "not namespaced"),
        ("kernel/shmall/../panic", "5", "not a sysctl name"),
        ("net.ipv4.ip_forward", "maybe", "net.ipv4.ip_forward=maybe"),
        ("net.not.there", "1", "net.not.there"),
        ("kernel.msgmax ", "1", "not a sysctl name"),
    ],
)
def test_sysctls_that_no_pod_can_have(shim: Shim, key: str, value: str, word: str) -> None:
    config = pods.pod_config(host_network=False)
    config.linux.sysctls[key] = value
    assert_no_pod(shim, config, word)


def assert_no_pod(shim: Shim, config: cri.PodSandboxConfig, word: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        pods.run_pod(shim, config)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert word in (error.value.details() or "")
    left = shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items
    assert config.metadata.name not in [p.metadata.name for p in left]


@pytest.mark.parametrize(
    ("key", "field"),
    [("net.ipv4.ip_forward", "network"), ("kernel.msgmax", "ipc"), ("fs.mqueue.msg_max", "ipc")],
)
def test_sysctls_of_what_is_the_hosts(shim: Shim, key: str, field: str) -> None:
    config = pods.pod_config(host_network=False)
    setattr(config.linux.security_context.namespace_options, field, cri.NODE)
    config.linux.sysctls[key] = "1"
    assert_no_pod(shim, config, "shares the host's")
