"""Which mounts made later on one side of a volume appear on the other."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.linux import mounts
from berth.pb import runtime_v1_pb2 as cri
from integration.conftest import HANDLERS
from tests.support import pods
from tests.support.mounts import make_shared, make_slave, unmount_all
from tests.support.shim import Shim

MODES = {
    cri.PROPAGATION_PRIVATE: (False, False),
    cri.PROPAGATION_HOST_TO_CONTAINER: (True, False),
    cri.PROPAGATION_BIDIRECTIONAL: (True, True),
}
"""Mode to: into the container, out of the container."""


@pytest.fixture(scope="module", params=HANDLERS)
def pod(shim: Shim, request: pytest.FixtureRequest) -> Iterator[str]:
    config = pods.pod_config()
    config.linux.security_context.privileged = True
    pod_id = pods.run_pod(shim, config, str(request.param))
    yield pod_id
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A shared mount with directories `in` and `out`."""
    directory = tmp_path / "shared"
    directory.mkdir()
    mounts.tmpfs(directory, 1 << 20)
    make_shared(directory)
    for name in ("in", "out"):
        (directory / name).mkdir()
    yield directory
    unmount_all(directory)


def config_of(image: str, source: Path, mode: cri.MountPropagation) -> cri.ContainerConfig:
    config = pods.container_config(image)
    config.linux.security_context.privileged = True
    config.mounts.add(host_path=str(source), container_path="/data", propagation=mode)
    return config


@pytest.mark.parametrize("mode", MODES)
def test_propagation(
    shim: Shim, pod: str, image: str, shared: Path, mode: cri.MountPropagation
) -> None:
    container = pods.run_container(shim, pod, config_of(image, shared, mode))
    mounts.tmpfs(shared / "in", 1 << 16)
    (shared / "in/x").touch()
    inside = pods.execute(shim, container, "test", "-e", "/data/in/x").exit_code == 0
    answer = pods.execute(shim, container, "mount", "-t", "tmpfs", "new", "/data/out")
    assert answer.exit_code == 0, answer.stderr
    outside = mounts.exists_at(shared / "out")
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    assert (inside, outside) == MODES[mode]
    assert pods_mounts_are_private(shim)


def pods_mounts_are_private(shim: Shim) -> bool:
    """What the container had mounted elsewhere never came to the host."""
    return not [place for place in shim.mounts() if "/rootfs/" in place]


def test_a_slave_receives_only(shim: Shim, pod: str, image: str, shared: Path) -> None:
    """HOST_TO_CONTAINER is content with a source that is a slave itself; BIDIRECTIONAL is not."""
    slave = shared.with_name("slave")
    slave.mkdir()
    mounts.bind(shared, slave)
    make_slave(slave)
    try:
        config = config_of(image, slave, cri.PROPAGATION_HOST_TO_CONTAINER)
        container = pods.run_container(shim, pod, config)
        mounts.tmpfs(shared / "in", 1 << 16)
        (shared / "in/x").touch()
        assert pods.execute(shim, container, "test", "-e", "/data/in/x").exit_code == 0
        shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
        refused(shim, pod, config_of(image, slave, cri.PROPAGATION_BIDIRECTIONAL), "slave one")
    finally:
        unmount_all(slave)


@pytest.mark.parametrize("mode", [cri.PROPAGATION_HOST_TO_CONTAINER, cri.PROPAGATION_BIDIRECTIONAL])
def test_a_private_source(
    shim: Shim, pod: str, image: str, shared: Path, mode: cri.MountPropagation
) -> None:
    mounts.make_private(shared)
    refused(shim, pod, config_of(image, shared, mode), "private one")


def refused(shim: Shim, pod: str, config: cri.ContainerConfig, word: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, config)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    text = error.value.details() or ""
    assert word in text
    assert "mount --make-rshared" in text
    request = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=pod))
    assert list(shim.runtime.ListContainers(request).containers) == []
