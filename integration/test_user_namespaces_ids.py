"""User namespaces: which are refused, ids inside and outside, and what root in one can do."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim, running

FIRST = 400000
LENGTH = 65536


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory whose parents let others pass: root of a user namespace is one of them."""
    with tempfile.TemporaryDirectory(prefix="berth-test-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture(scope="module")
def shim(place: Path, layout: Path, handler_settings: dict[str, str], image: str) -> Iterator[Shim]:
    with running(place / "shim", handler_settings) as daemon:
        daemon.load(layout, image)
        yield daemon


def mapped(host_network: bool = False) -> cri.PodSandboxConfig:
    config = pods.pod_config(host_network=host_network)
    options = config.linux.security_context.namespace_options
    options.pid = cri.CONTAINER
    for mappings in (options.userns_options.uids, options.userns_options.gids):
        mappings.add(container_id=0, host_id=FIRST, length=LENGTH)
    return config


pytestmark = pytest.mark.pod(config=mapped)


@pytest.fixture
def handler() -> str:
    """Of the two only crun can map the ids of mounts."""
    return "crun"


@pytest.fixture
def wanted(pod_config: cri.PodSandboxConfig, image: str) -> cri.ContainerConfig:
    return container_of(pod_config, image)


def container_of(config: cri.PodSandboxConfig, image: str) -> cri.ContainerConfig:
    container = pods.container_config(image)
    container.linux.security_context.namespace_options.CopyFrom(
        config.linux.security_context.namespace_options
    )
    return container


def run(
    shim: Shim, pod: str, config: cri.PodSandboxConfig, wanted: cri.ContainerConfig, script: str
) -> str:
    """What the script prints (errors too) in a container of its own that goes away again."""
    container = pods.run_container(shim, pod, wanted, config)
    answer = pods.execute(shim, container, "/bin/sh", "-c", f"exec 2>&1; {script}")
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    return str(answer.stdout.decode())


@pytest.mark.parametrize(
    ("uids", "gids", "mode", "word"),
    [
        ([(0, FIRST, 10), (10, FIRST + 10, 10)], [(0, FIRST, 10)], cri.POD, "uids has 2 mappings"),
        ([], [], cri.POD, "uids has 0 mappings"),
        ([(0, FIRST, 10)], [(1, FIRST, 10)], cri.POD, "gids must map container id 0"),
        ([(0, FIRST, 0)], [(0, FIRST, 0)], cri.POD, "length 0"),
        ([(0, 2**32 - 5, 10)], [(0, FIRST, 10)], cri.POD, "beyond the 32-bit ids"),
        ([(0, FIRST, 10)], [(0, FIRST, 10)], cri.CONTAINER, "mode CONTAINER"),
        ([(0, FIRST, 10)], [(0, FIRST, 10)], cri.TARGET, "mode TARGET"),
        ([(0, FIRST, 10)], [(0, FIRST, 10)], cri.NODE, "NODE takes no mappings"),
    ],
)
def test_mappings_that_no_pod_can_have(
    shim: Shim,
    uids: list[tuple[int, int, int]],
    gids: list[tuple[int, int, int]],
    mode: cri.NamespaceMode,
    word: str,
) -> None:
    config = pods.pod_config(host_network=False)
    options = config.linux.security_context.namespace_options.userns_options
    options.mode = mode
    for mappings, found in ((options.uids, uids), (options.gids, gids)):
        for inside, outside, length in found:
            mappings.add(container_id=inside, host_id=outside, length=length)
    code, text = pod_refusal(shim, config, "crun")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert word in text


def pod_refusal(
    shim: Shim, config: cri.PodSandboxConfig, handler: str
) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        pods.run_pod(shim, config, handler)
    left = shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items
    assert config.metadata.name not in [p.metadata.name for p in left]
    return error.value.code(), error.value.details() or ""


def test_a_runtime_without_mapped_mounts(shim: Shim) -> None:
    """Debian's runc 1.1: the error says which handler, and which would do."""
    code, text = pod_refusal(shim, mapped(), "runc")
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'runc'" in text
    assert "crun" in text


def test_a_containers_must_be_the_pods(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, wanted: cri.ContainerConfig, image: str
) -> None:
    wanted.linux.security_context.namespace_options.userns_options.uids[0].host_id += 1
    assert_differs(shim, pod, pod_config, wanted)
    plain = pods.run_pod(shim, handler="crun")
    other = container_of(pod_config, image)
    assert_differs(shim, plain, pods.pod_config(), other)
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=plain))


def assert_differs(
    shim: Shim, pod: str, config: cri.PodSandboxConfig, wanted: cri.ContainerConfig
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, wanted, config)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "differ from the pod's" in (error.value.details() or "")


def test_ids_inside_and_outside(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, wanted: cri.ContainerConfig
) -> None:
    wanted.linux.security_context.run_as_user.value = 1000
    wanted.linux.security_context.supplemental_groups.append(77)
    container = pods.run_container(shim, pod, wanted, pod_config)
    assert pods.execute(shim, container, "id", "-u").stdout == b"1000\n"
    answer = shim.runtime.ContainerStatus(
        cri.ContainerStatusRequest(container_id=container, verbose=True)
    )
    user = answer.status.user.linux
    assert (user.uid, user.gid, sorted(user.supplemental_groups)) == (1000, 1000, [77, 1000, 2000])
    status = Path(f"/proc/{answer.info['pid']}/status").read_text()
    assert re.search(rf"Uid:\t{FIRST + 1000}\t", status)
    groups = re.search(r"Groups:\t(.*)", status)
    assert groups
    assert set(map(int, groups[1].split())) == {FIRST + n for n in (77, 1000, 2000)}
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


@pytest.mark.parametrize(
    ("field", "word"), [("run_as_user", "user 65536"), ("supplemental_groups", "group 65536")]
)
def test_ids_beyond_the_mapping(
    shim: Shim,
    pod: str,
    pod_config: cri.PodSandboxConfig,
    wanted: cri.ContainerConfig,
    field: str,
    word: str,
) -> None:
    context = wanted.linux.security_context
    if field == "run_as_user":
        context.run_as_user.value = LENGTH
    else:
        context.supplemental_groups.append(LENGTH)
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, wanted, pod_config)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{word} is not mapped" in (error.value.details() or "")


def test_volumes_are_mapped(
    shim: Shim,
    pod: str,
    pod_config: cri.PodSandboxConfig,
    wanted: cri.ContainerConfig,
    place: Path,
) -> None:
    """As the kubelet asks for them: root on disk is root inside, in directories and in files."""
    volume = place / "volume"
    volume.mkdir()
    (volume / "old").touch()
    (volume / "file").write_text("text\n")
    os.chown(volume / "old", 5, 6)
    for source, target in ((volume, "/data"), (volume / "file", "/etc/file")):
        mount = wanted.mounts.add(host_path=str(source), container_path=target)
        for mappings in (mount.uidMappings, mount.gidMappings):
            mappings.add(container_id=0, host_id=FIRST, length=LENGTH)
    script = "touch /data/new; stat -c %u:%g /data /data/old /data/new /etc/file; cat /etc/file"
    said = run(shim, pod, pod_config, wanted, script).split()
    assert said == ["0:0", "5:6", "0:0", "0:0", "text"]
    made = (volume / "new").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)


def test_volumes_that_are_not_mapped(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, wanted: cri.ContainerConfig, place: Path
) -> None:
    """Whoever asks for no mapping gets none: files of the host's root are nobody's."""
    (place / "plain").mkdir()
    wanted.mounts.add(host_path=str(place / "plain"), container_path="/data")
    said = run(shim, pod, pod_config, wanted, "stat -c %u:%g /data; touch /data/x")
    assert said.startswith("65534:65534\n")
    assert "Permission denied" in said


def test_readonly_and_mapped(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, wanted: cri.ContainerConfig, place: Path
) -> None:
    (place / "both").mkdir()
    mount = wanted.mounts.add(
        host_path=str(place / "both"),
        container_path="/data",
        readonly=True,
        recursive_read_only=True,
        mount_options=["noexec"],
    )
    for mappings in (mount.uidMappings, mount.gidMappings):
        mappings.add(container_id=0, host_id=FIRST, length=LENGTH)
    said = run(
        shim, pod, pod_config, wanted, "stat -c %u /data; touch /data/x; grep /data /proc/mounts"
    )
    owner, error, line = said.strip().split("\n")
    assert owner == "0"
    assert "Read-only file system" in error
    assert {"ro", "noexec"} <= set(line.split()[3].split(","))


def test_root_owns_the_network_and_nothing_of_the_host(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, wanted: cri.ContainerConfig
) -> None:
    wanted.linux.security_context.capabilities.add_capabilities.append("ALL")
    script = (
        "ip link set lo down && echo network; hostname other && echo name;"
        "mount -t tmpfs x /tmp && echo mounted; echo 5 > /proc/sys/net/ipv4/ip_default_ttl && "
        "echo sysctl; grep CapPrm /proc/self/status; echo 1 > /proc/sys/vm/drop_caches;"
        "chmod 600 /dev/null; mknod /tmp/sda b 8 0"
    )
    network, name, mounted, sysctl, caps, drop, null, node = (
        run(shim, pod, pod_config, wanted, script).strip().split("\n")
    )
    assert (network, name, mounted, sysctl) == ("network", "name", "mounted", "sysctl")
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert int(caps.split()[1], 16) == (1 << last + 1) - 1
    assert "Permission denied" in drop
    assert "Operation not permitted" in null
    assert "Operation not permitted" in node


def null_device() -> tuple[int, int, int]:
    found = os.stat("/dev/null")
    return found.st_uid, found.st_gid, found.st_mode


def test_the_hosts_null_device_stays_the_hosts(
    shim: Shim, pod: str, pod_config: cri.PodSandboxConfig, wanted: cri.ContainerConfig, image: str
) -> None:
    """crun gives standard streams to the container's user, and runs commands with none too."""
    before = null_device()
    wanted.linux.security_context.run_as_user.value = 1000
    plain = pods.run_pod(shim, handler="crun")
    other = pods.container_config(image)
    other.linux.security_context.run_as_user.value = 1000
    for pod_id, container_config, its_pod in (
        (pod, wanted, pod_config),
        (plain, other, pods.pod_config()),
    ):
        for tty in (False, True):
            container_config.metadata.name = f"null-{tty}"
            container_config.tty = tty
            container = pods.run_container(shim, pod_id, container_config, its_pod)
            assert null_device() == before
            pods.execute(shim, container, "true")
            assert null_device() == before
            shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=plain))


def test_the_hosts_network(shim: Shim, image: str) -> None:
    """KEP-5607: the pod's root has no power over the host's network, and sees /sys read-only."""
    config = mapped(host_network=True)
    pod = pods.run_pod(shim, config, "crun")
    wanted = container_of(config, image)
    wanted.linux.security_context.capabilities.add_capabilities.append("NET_ADMIN")
    script = (
        "readlink /proc/self/ns/net; head -c 20 /proc/self/uid_map; ip link set lo down;"
        "touch /sys/x; find /sys -name uevent -exec sh -c 'echo add > {}' ';' -quit 2>&1"
    )
    said = run(shim, pod, config, wanted, script)
    assert said.startswith(os.readlink("/proc/self/ns/net"))
    assert "SIOCSIFFLAGS: Operation not permitted" in said
    assert "Read-only file system" in said
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
    assert features(shim).user_namespaces_host_network


def features(shim: Shim) -> Any:
    return shim.runtime.Status(cri.StatusRequest()).features


def test_sysctls_and_ipc(shim: Shim, image: str) -> None:
    config = mapped()
    config.linux.sysctls.update({"net.ipv4.ip_default_ttl": "33", "kernel.msgmax": "4444"})
    pod = pods.run_pod(shim, config, "crun")
    script = (
        "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax "
        "/proc/sys/net/ipv4/ip_unprivileged_port_start; touch /dev/shm/x /dev/mqueue/x && echo both"
    )
    said = run(shim, pod, config, container_of(config, image), script)
    assert said.split() == ["33", "4444", "0", "both"]
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
