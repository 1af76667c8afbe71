"""Parts of images as volumes, what ContainerStatus tells of them, and how long images stay."""

from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.image import BuiltImage, Layer, directory, layout_files, member, symlink
from tests.support.image import write_directory as write
from tests.support.shim import Shim

DATA = "example.org/data:1"


@pytest.fixture(scope="module")
def data(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of files alone; its id. Links lead about in it, and would lead out of it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").touch()
    built = BuiltImage(
        [
            Layer.of(
                directory("models"),
                member("models/weights", b"1 2 3\n"),
                directory("models/deep"),
                member("models/deep/x", b"deep\n"),
                symlink("latest", "models/deep"),
                symlink("absolute", "/models"),
                symlink("climbs", "../../../../models"),
                symlink("escapes", str(outside)),
                symlink("loop", "loop"),
            )
        ]
    )
    path = write(tmp_path_factory.mktemp("data"), layout_files([built], [built.described()]))
    return shim.load(path, DATA)


def with_volume(
    image: str, volume: str, sub_path: str = "", name: str = "c"
) -> cri.ContainerConfig:
    config = pods.container_config(image, name=name)
    mount = config.mounts.add(container_path="/volume", readonly=True, image_sub_path=sub_path)
    mount.image.image = volume
    mount.image.user_specified_image = DATA
    return config


def listing(shim: Shim, pod: str, config: cri.ContainerConfig) -> list[str]:
    container = pods.run_container(shim, pod, config)
    answer = pods.execute(shim, container, "ls", "/volume")
    remove(shim, container)
    return sorted(answer.stdout.decode().split())


def remove(shim: Shim, *containers: str) -> None:
    for container in containers:
        shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


@pytest.mark.parametrize(
    ("sub_path", "found"),
    [
        ("models", ["deep", "weights"]),
        ("models/deep/", ["x"]),
        ("./models", ["deep", "weights"]),
        ("latest", ["x"]),
        ("absolute", ["deep", "weights"]),
        ("climbs/deep", ["x"]),
    ],
)
def test_sub_paths(
    shim: Shim, pod: str, image: str, data: str, sub_path: str, found: list[str]
) -> None:
    assert listing(shim, pod, with_volume(image, data, sub_path)) == found


@pytest.mark.parametrize(
    ("sub_path", "code"),
    [
        ("absent", grpc.StatusCode.NOT_FOUND),
        ("models/weights", grpc.StatusCode.NOT_FOUND),
        ("escapes", grpc.StatusCode.NOT_FOUND),
        ("loop", grpc.StatusCode.INVALID_ARGUMENT),
        ("../models", grpc.StatusCode.INVALID_ARGUMENT),
        ("models/../../x", grpc.StatusCode.INVALID_ARGUMENT),
        ("/models", grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_sub_paths_that_are_none(
    shim: Shim, pod: str, image: str, data: str, sub_path: str, code: grpc.StatusCode
) -> None:
    before = sorted((shim.root / "mounts").iterdir())
    found, text = pods.refused_create(shim, pod, with_volume(image, data, sub_path))
    assert found is code, text
    assert text.startswith("ImageVolumeMountFailed: config.mounts[0]")
    assert repr(sub_path) in text
    assert sorted((shim.root / "mounts").iterdir()) == before


def test_images_that_are_not_here(shim: Shim, pod: str, image: str) -> None:
    code, text = pods.refused_create(shim, pod, with_volume(image, "example.org/absent:1"))
    assert code is grpc.StatusCode.NOT_FOUND
    assert text.startswith("ImageVolumeMountFailed: ")
    assert "pull it" in text


def test_fields_that_exclude_each_other(shim: Shim, pod: str, image: str, data: str) -> None:
    config = with_volume(image, data)
    config.mounts[0].readonly = False
    code, text = pods.refused_create(shim, pod, config)
    assert (code, "must be readonly" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    config.mounts[0].readonly = True
    config.mounts[0].host_path = "/etc"
    code, text = pods.refused_create(shim, pod, config)
    assert (code, "both host_path and image" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_status_names_the_image(shim: Shim, pod: str, image: str, data: str) -> None:
    """As asked for, and which image it was; also after a restart."""
    config = with_volume(image, DATA, "models")
    container = pods.run_container(shim, pod, config)
    [mount] = pods.status(shim, container).mounts
    shim.restart()
    assert list(pods.status(shim, container).mounts) == [mount]
    assert mount.image.image_ref == data
    mount.image.ClearField("image_ref")
    assert mount == config.mounts[0]
    remove(shim, container)


def test_an_image_stays_while_it_is_mounted(shim: Shim, image: str, handler: str) -> None:
    """Stopped containers hold it too: only a container that is removed lets it go."""
    built = BuiltImage([Layer.of(member("only", handler.encode()))])
    path = write(shim.directory / f"own-{handler}", layout_files([built], [built.described()]))
    own = shim.load(path, f"example.org/own:{handler}")
    pod = pods.run_pod(shim, handler=handler)
    containers = [
        pods.run_container(shim, pod, with_volume(image, own, name=name)) for name in ("a", "b")
    ]
    wanted = cri.RemoveImageRequest(image=cri.ImageSpec(image=own))
    for container in containers:
        with pytest.raises(grpc.RpcError) as error:
            shim.images.RemoveImage(wanted)
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "remove the container first" in (error.value.details() or "")
        pods.stop(shim, container)
        with pytest.raises(grpc.RpcError):
            shim.images.RemoveImage(wanted)
        remove(shim, container)
    shim.images.RemoveImage(wanted)
    spec = cri.ImageStatusRequest(image=cri.ImageSpec(image=own))
    assert not shim.images.ImageStatus(spec).HasField("image")
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def test_writing_and_changing_fails(
    shim: Shim, pod: str, image: str, data: str, tmp_path: Path
) -> None:
    container = pods.run_container(shim, pod, with_volume(image, data))
    script = "touch /volume/x; rm /volume/models/weights; grep ' /volume ' /proc/mounts"
    answer = pods.execute(shim, container, "/bin/sh", "-c", f"exec 2>&1; {script}")
    first, second, line = answer.stdout.decode().strip().split("\n")
    assert "Read-only file system" in first
    assert "Read-only file system" in second
    assert {"ro", "nosuid", "nodev"} <= set(line.split()[3].split(","))
    remove(shim, container)
