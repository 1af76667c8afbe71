"""A volume whose file system does not answer holds up its own container and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.hung_mount import hung_mount
from tests.support.shim import Shim, running

TIMEOUT = 1.5


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Path,
    handler_settings: dict[str, str],
    image: str,
) -> Iterator[Shim]:
    """A daemon with a shorter mount timeout than usual."""
    directory = tmp_path_factory.mktemp("shim")
    settings = {**handler_settings, "runtime.mount_timeout": str(TIMEOUT)}
    with running(directory, settings) as daemon:
        daemon.load(layout, image)
        yield daemon


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system that hangs, behind a link, as volumes often are."""
    (tmp_path / "server").mkdir()
    (tmp_path / "link").symlink_to("server")
    with hung_mount(tmp_path / "server"):
        yield tmp_path / "link" / "volume"


def test_only_its_own_container_waits(shim: Shim, image: str, hung: Path, tmp_path: Path) -> None:
    pod = pods.run_pod(shim)
    stuck = pods.container_config(image, name="stuck")
    stuck.mounts.add(host_path=str(tmp_path), container_path="/fine")
    stuck.mounts.add(host_path=str(hung), container_path="/data")
    pods.share_network(stuck, pods.pod_config())
    request = cri.CreateContainerRequest(pod_sandbox_id=pod, config=stuck)
    waiting = shim.runtime.CreateContainer.future(request)
    pods.until(lambda: "stage 'mounts'" in operations(shim), "the stage shows")
    for _ in range(20):
        shim.runtime.ListContainers(cri.ListContainersRequest(), timeout=TIMEOUT)
    other = pods.container_config(image, name="other")
    other.mounts.add(host_path=str(tmp_path), container_path="/fine")
    container = pods.run_container(shim, pod, other)
    assert pods.execute(shim, container, "true").exit_code == 0
    error = waiting.exception(timeout=30)
    assert isinstance(error, grpc.RpcError)
    assert waiting.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert f"config.mounts[1]: host path '{hung}'" in waiting.details()
    assert "stage: mounts" in waiting.details()
    found = shim.runtime.ListContainers(cri.ListContainersRequest()).containers
    assert [c.id for c in found] == [container]


def operations(shim: Shim) -> str:
    status = shim.runtime.Status(cri.StatusRequest(verbose=True))
    return str(status.info["operations"])


def test_a_server_that_is_gone(shim: Shim, image: str, tmp_path: Path) -> None:
    """A path that is not there is told from one that does not answer, also beside a dead mount."""
    pod = pods.run_pod(shim)
    (tmp_path / "server").mkdir()
    with hung_mount(tmp_path / "server"):
        config = pods.container_config(image)
        config.mounts.add(host_path=f"{tmp_path}/absent", container_path="/data")
        with pytest.raises(grpc.RpcError) as error:
            pods.create(shim, pod, config)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
