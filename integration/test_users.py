"""Who a container's processes are: by the config's fields, by the image, and in ContainerStatus."""

from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from berth.pb import shim_v1_pb2 as shim_pb
from tests.support import busybox, pods
from tests.support.image import BuiltImage, Layer, layout_files, symlink, write_directory
from tests.support.shim import Shim

IMAGE_USERS = {
    "name": "user",
    "name-group": "user:extra",
    "ids": "1000:2000",
    "unknown-id": "4321",
    "unknown-name": "nobody-here",
    "unknown-group": "user:nobody-here",
}
"""Image tag to its `User`; the passwd and group files are those of the busybox image."""


@pytest.fixture(scope="module")
def user_images(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Images of the same files and other users; the repository that their tags are in."""
    repository = "example.org/users"
    images = {tag: busybox.image(User=user) for tag, user in IMAGE_USERS.items()}
    entries = [
        one.described(**{"io.containerd.image.name": f"{repository}:{tag}"})
        for tag, one in images.items()
    ]
    path = tmp_path_factory.mktemp("users")
    write_directory(path, layout_files(list(images.values()), entries))
    list(shim.shim.LoadImage(shim_pb.LoadImageRequest(path=str(path))))
    return repository


def wanted(image: str, **fields: object) -> cri.ContainerConfig:
    """A container with these fields of the security context; whole numbers get their message."""
    config = pods.container_config(image)
    context = config.linux.security_context
    for name, value in fields.items():
        if name in ("run_as_user", "run_as_group"):
            getattr(context, name).value = value
        elif isinstance(value, list):
            context.supplemental_groups.extend(value)
        else:
            setattr(context, name, value)
    return config


def ids(shim: Shim, container: str) -> tuple[int, int, list[int]]:
    """Uid, gid and groups of the first process, as the kernel says."""
    text = pods.execute(shim, container, "cat", "/proc/1/status").stdout.decode()
    found = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    groups = [int(word) for word in found["Groups"].split()]
    return int(found["Uid"].split()[0]), int(found["Gid"].split()[0]), groups


def shown(shim: Shim, container: str) -> tuple[int, int, list[int]]:
    """The same as ContainerStatus tells it."""
    user = pods.status(shim, container).user.linux
    return user.uid, user.gid, list(user.supplemental_groups)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, (0, 0, [0])),
        ({"run_as_user": 1000}, (1000, 1000, [1000, 2000])),
        ({"run_as_user": 4321}, (4321, 0, [0])),
        ({"run_as_username": "user"}, (1000, 1000, [1000, 2000])),
        ({"run_as_username": "4321"}, (4321, 0, [0])),
        ({"run_as_user": 1000, "run_as_group": 7}, (1000, 7, [7, 2000])),
        ({"run_as_username": "user", "run_as_group": 2000}, (1000, 2000, [2000])),
        ({"run_as_user": 1000, "supplemental_groups": [9]}, (1000, 1000, [9, 1000, 2000])),
        (
            {
                "run_as_user": 1000,
                "supplemental_groups": [9, 8],
                "supplemental_groups_policy": cri.Strict,
            },
            (1000, 1000, [8, 9, 1000]),
        ),
        ({"run_as_user": 1000, "supplemental_groups_policy": cri.Strict}, (1000, 1000, [1000])),
    ],
)
def test_by_the_config(
    shim: Shim, pod: str, image: str, fields: dict[str, object], found: tuple[int, int, list[int]]
) -> None:
    container = pods.run_container(shim, pod, wanted(image, **fields))
    try:
        assert ids(shim, container) == found
        uid, gid, groups = shown(shim, container)
        assert (uid, gid, sorted(groups)) == found
        assert groups[0] == gid
    finally:
        shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"run_as_group": 5}, "run_as_group"),
        ({"run_as_username": "absent"}, "/etc/passwd"),
        ({"run_as_user": 1, "run_as_username": "user"}, "both"),
        ({"run_as_user": -1}, "run_as_user"),
        ({"run_as_user": 2**32}, "run_as_user"),
        ({"supplemental_groups": [-5]}, "supplemental_groups"),
        ({"supplemental_groups_policy": 9}, "supplemental_groups_policy"),
    ],
)
def test_refused_by_the_config(
    shim: Shim, pod: str, image: str, fields: dict[str, object], word: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, wanted(image, **fields))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert word in (error.value.details() or "")
    assert_no_containers(shim, pod)


def assert_no_containers(shim: Shim, pod: str) -> None:
    filter_ = cri.ContainerFilter(pod_sandbox_id=pod)
    request = cri.ListContainersRequest(filter=filter_)
    assert list(shim.runtime.ListContainers(request).containers) == []


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ("name", (1000, 1000, [1000, 2000])),
        ("name-group", (1000, 2000, [2000])),
        ("ids", (1000, 2000, [2000])),
        ("unknown-id", (4321, 0, [0])),
    ],
)
def test_by_the_image(
    shim: Shim, pod: str, user_images: str, tag: str, found: tuple[int, int, list[int]]
) -> None:
    container = pods.run_container(shim, pod, pods.container_config(f"{user_images}:{tag}"))
    try:
        assert ids(shim, container) == found
        assert shown(shim, container) == found
    finally:
        shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


@pytest.mark.parametrize("tag", ["unknown-name", "unknown-group"])
def test_an_image_user_that_it_does_not_have(
    shim: Shim, pod: str, user_images: str, tag: str
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, pods.container_config(f"{user_images}:{tag}"))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "nobody-here" in (error.value.details() or "")
    assert_no_containers(shim, pod)


def test_the_config_overrides_the_image(shim: Shim, pod: str, user_images: str) -> None:
    """A user that is asked for brings its own group; the image's group goes with its user."""
    config = wanted(f"{user_images}:name-group", run_as_user=0)
    container = pods.run_container(shim, pod, config)
    assert ids(shim, container) == (0, 0, [0])
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


def test_image_status_tells_user_or_id(shim: Shim, user_images: str) -> None:
    def status(tag: str) -> Any:
        spec = cri.ImageSpec(image=f"{user_images}:{tag}")
        return shim.images.ImageStatus(cri.ImageStatusRequest(image=spec)).image

    assert (status("name").username, status("name").HasField("uid")) == ("user", False)
    assert (status("ids").uid.value, status("ids").username) == (1000, "")
    assert status("unknown-id").uid.value == 4321


def test_exec_runs_as_the_containers_user(shim: Shim, pod: str, image: str) -> None:
    config = wanted(image, run_as_user=1000, supplemental_groups=[9])
    config.working_dir = "/made/for/me"
    container = pods.run_container(shim, pod, config)
    script = "id -u; id -G; pwd"
    answer = pods.execute(shim, container, "/bin/sh", "-c", script).stdout.decode().split("\n")
    assert answer[0] == "1000"
    assert sorted(map(int, answer[1].split())) == [9, 1000, 2000]
    assert answer[2] == "/made/for/me"
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


def test_a_user_database_that_links_to_the_host(shim: Shim, pod: str, tmp_path: Path) -> None:
    """The link is followed within the image, where it leads nowhere."""
    database = tmp_path / "passwd"
    database.write_text("mallory:x:0:0:mallory:/:/bin/sh\n")
    built = BuiltImage(
        [busybox.layer(), Layer.of(symlink("etc/passwd", str(database)))], {"Env": ["PATH=/bin"]}
    )
    path = write_directory(tmp_path / "image", layout_files([built], [built.described()]))
    shim.load(path, "example.org/users:link")
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, wanted("example.org/users:link", run_as_username="mallory"))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    container = pods.run_container(shim, pod, wanted("example.org/users:link", run_as_user=1000))
    assert ids(shim, container) == (1000, 0, [0])
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
