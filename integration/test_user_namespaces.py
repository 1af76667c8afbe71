"""Pods with a user namespace: their files, their init and their images have the pod's ids."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim, running

FIRST_ID = 300000


@pytest.fixture(scope="module")
def shim(layout: Path, handler_settings: dict[str, str], image: str) -> Iterator[Shim]:
    """In a directory whose parents let others pass, which those of pytest do not."""
    with tempfile.TemporaryDirectory(prefix="berth-test-") as directory:
        Path(directory).chmod(0o711)
        with running(Path(directory) / "shim", handler_settings) as daemon:
            daemon.load(layout, image)
            yield daemon


@pytest.fixture
def mapped(shim: Shim) -> Iterator[cri.PodSandboxConfig]:
    """A pod with a user namespace; only crun of the two can idmap mounts."""
    config = pods.pod_config(host_network=False)
    options = config.linux.security_context.namespace_options
    for mappings in (options.userns_options.uids, options.userns_options.gids):
        mappings.add(container_id=0, host_id=FIRST_ID, length=65536)
    yield config
    for pod in shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items:
        shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod.id))


def container_of(config: cri.PodSandboxConfig, image: str) -> cri.ContainerConfig:
    container = pods.container_config(image)
    container.linux.security_context.namespace_options.CopyFrom(
        config.linux.security_context.namespace_options
    )
    return container


def owners(shim: Shim, container: str, *paths: str) -> list[str]:
    answer = pods.execute(shim, container, "stat", "-c", "%u:%g", *paths)
    assert answer.exit_code == 0, answer.stderr
    return str(answer.stdout.decode()).split()


def test_root_owns_its_files(shim: Shim, image: str, mapped: cri.PodSandboxConfig) -> None:
    pod = pods.run_pod(shim, mapped, "crun")
    container = pods.run_container(shim, pod, container_of(mapped, image), mapped)
    assert pods.execute(shim, container, "touch", "/made", "/bin/busybox").exit_code == 0
    paths = ("/", "/bin/busybox", "/etc/passwd", "/etc/hostname", "/dev/shm", "/made")
    assert owners(shim, container, *paths) == ["0:0"] * len(paths)
    made = shim.root / "containers" / container / "upper" / "made"
    assert (made.stat().st_uid, made.stat().st_gid) == (FIRST_ID, FIRST_ID)


def test_layers_stay_shared(shim: Shim, image: str, mapped: cri.PodSandboxConfig) -> None:
    """Two pods, one mapped and one not, use the same layers at the same time."""
    pods.run_container(
        shim, pods.run_pod(shim, mapped, "crun"), container_of(mapped, image), mapped
    )
    plain = pods.run_container(
        shim, pods.run_pod(shim, handler="crun"), pods.container_config(image)
    )
    assert owners(shim, plain, "/", "/bin/busybox") == ["0:0", "0:0"]
    assert [p for p in shim.mounts() if "/lower/" in p] == []


def test_an_image_volume_has_the_ids_too(
    shim: Shim, image: str, mapped: cri.PodSandboxConfig
) -> None:
    pod = pods.run_pod(shim, mapped, "crun")
    config = container_of(mapped, image)
    config.mounts.add(container_path="/volume", readonly=True).image.image = image
    container = pods.run_container(shim, pod, config, mapped)
    assert owners(shim, container, "/volume", "/volume/bin/sh") == ["0:0", "0:0"]


def test_a_shared_pid_namespace(shim: Shim, image: str, mapped: cri.PodSandboxConfig) -> None:
    """The init of a pod starts in a user namespace also after others have used its root."""
    plain = pods.pod_config()
    plain.linux.security_context.namespace_options.pid = cri.POD
    pods.run_pod(shim, plain, "crun")
    pod = pods.run_pod(shim, mapped, "crun")
    container = pods.run_container(shim, pod, container_of(mapped, image), mapped)
    answer = pods.execute(shim, container, "cat", "/proc/1/comm", "/proc/1/uid_map")
    assert answer.stdout.split() == [b"init", b"0", str(FIRST_ID).encode(), b"65536"]


def test_a_directory_that_others_may_not_pass(shim: Shim, mapped: cri.PodSandboxConfig) -> None:
    """Root of the user namespace is one of the others: the error says what to open."""
    shim.directory.chmod(0o700)
    try:
        with pytest.raises(grpc.RpcError) as error:
            pods.run_pod(shim, mapped, "crun")
    finally:
        shim.directory.chmod(0o755)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"chmod o+x {shim.directory}" in str(error.value.details())
