"""Images as volumes: mounted read-only, programs run, and nothing stays of a refused create."""

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim


def with_volume(image: str, **fields: object) -> cri.ContainerConfig:
    config = pods.container_config(image)
    mount = config.mounts.add(container_path="/volume", readonly=True, **fields)
    mount.image.image = image
    return config


def test_programs_of_it_run(shim: Shim, image: str, handler: str) -> None:
    pod = pods.run_pod(shim, handler=handler)
    container = pods.run_container(shim, pod, with_volume(image))
    assert pods.execute(shim, container, "/volume/bin/cat", "/etc/group").exit_code == 0
    assert pods.execute(shim, container, "touch", "/volume/new").exit_code == 1


def test_noexec_is_kept_where_asked_for(shim: Shim, image: str, handler: str) -> None:
    pod = pods.run_pod(shim, handler=handler)
    container = pods.run_container(shim, pod, with_volume(image, mount_options=["noexec"]))
    answer = pods.execute(shim, container, "sh", "-c", "/volume/bin/busybox true")
    assert (answer.exit_code, b"Permission denied" in answer.stderr) == (126, True)


def test_a_refused_create_unmounts_it(shim: Shim, image: str) -> None:
    pod = pods.run_pod(shim)
    before = sorted((shim.root / "mounts").iterdir())
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, with_volume(image, image_sub_path="missing"))
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    assert "ImageVolumeMountFailed: config.mounts[0]" in str(error.value.details())
    assert sorted((shim.root / "mounts").iterdir()) == before
