"""Volumes: where they come from, where they go, and what a container may do with them."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.linux import mounts
from berth.pb import runtime_v1_pb2 as cri
from integration.conftest import HANDLERS
from tests.support import busybox, pods
from tests.support.image import BuiltImage, Layer, directory, layout_files, symlink, write_directory
from tests.support.mounts import unmount_all
from tests.support.shim import Shim


@pytest.fixture(scope="module", params=HANDLERS)
def pod(shim: Shim, request: pytest.FixtureRequest) -> Iterator[str]:
    pod_id = pods.run_pod(shim, handler=str(request.param))
    yield pod_id
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


@pytest.fixture
def config(image: str) -> cri.ContainerConfig:
    return pods.container_config(image)


def run(shim: Shim, pod: str, config: cri.ContainerConfig, script: str) -> str:
    """What the script prints (errors too) in a container of its own that goes away again."""
    container = pods.run_container(shim, pod, config)
    answer = pods.execute(shim, container, "/bin/sh", "-c", f"exec 2>&1; {script}")
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    return str(answer.stdout.decode())


def refusal(shim: Shim, pod: str, config: cri.ContainerConfig) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, config)
    request = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=pod))
    assert list(shim.runtime.ListContainers(request).containers) == []
    return error.value.code(), error.value.details() or ""


def test_directories_and_files(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    """A file's place is made as a file, as for the kubelet's termination log."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "hosts").write_text("127.0.0.1 mine\n")
    (tmp_path / "log").touch()
    config.mounts.add(host_path=str(tmp_path / "directory"), container_path="/data")
    config.mounts.add(host_path=str(tmp_path / "hosts"), container_path="/etc/hosts")
    config.mounts.add(host_path=str(tmp_path / "log"), container_path="/dev/termination-log")
    config.mounts.add(host_path=str(tmp_path / "log"), container_path="/not/yet/there/log")
    script = "touch /data/x; cat /etc/hosts; echo done > /dev/termination-log; cat /not/yet/there/*"
    assert run(shim, pod, config, script) == "127.0.0.1 mine\ndone\n"
    assert (tmp_path / "directory/x").exists()
    assert (tmp_path / "log").read_text() == "done\n"


def test_a_socket(shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)  # its path may be too long for an address
        server.bind("s")
        config.mounts.add(host_path=str(tmp_path / "s"), container_path="/run/s.sock")
        assert run(shim, pod, config, "test -S /run/s.sock && echo yes") == "yes\n"


def test_shallow_before_deep(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    """Whatever the order in which they are asked for, and none hides another."""
    for name in ("top", "middle", "bottom"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    for place, name in (("/a/b/c", "bottom"), ("/a", "top"), ("/a/b", "middle")):
        config.mounts.add(host_path=str(tmp_path / name), container_path=place)
    script = "test -e /a/top -a -e /a/b/middle -a -e /a/b/c/bottom && echo all"
    assert run(shim, pod, config, script) == "all\n"


def test_a_source_behind_links(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "real/deep/x").touch()
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "relative").symlink_to("absolute/deep/../deep")
    config.mounts.add(host_path=str(tmp_path / "relative"), container_path="/data")
    assert run(shim, pod, config, "ls /data") == "x\n"


def test_a_place_behind_a_link_of_the_image(shim: Shim, pod: str, tmp_path: Path) -> None:
    """It is followed within the image: nothing appears on the host."""
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    link = symlink("way", f"../../../..{tmp_path}/target")
    inside = [directory(str(path).lstrip("/")) for path in (tmp_path, tmp_path / "target")]
    built = BuiltImage([busybox.layer(), Layer.of(*inside, link)], {"Env": ["PATH=/bin"]})
    path = write_directory(tmp_path / "image", layout_files([built], [built.described()]))
    shim.load(path, "example.org/link:1")
    config = pods.container_config("example.org/link:1")
    config.mounts.add(host_path=str(tmp_path / "source"), container_path="/way/new/directory")
    assert run(shim, pod, config, "touch /way/new/directory/x") == ""
    assert (tmp_path / "source/x").exists()
    assert list((tmp_path / "target").iterdir()) == []


def test_relabelling_without_selinux(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    """There is nothing to label, and nothing to complain of."""
    config.mounts.add(host_path=str(tmp_path), container_path="/data", selinux_relabel=True)
    assert run(shim, pod, config, "touch /data/x && echo ok") == "ok\n"
    assert "security.selinux" not in os.listxattr(tmp_path)


def test_over_what_every_container_has(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    (tmp_path / "resolv").write_text("nameserver 192.0.2.9\n")
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm/mine").touch()
    config.mounts.add(host_path=str(tmp_path / "resolv"), container_path="/etc/resolv.conf")
    config.mounts.add(host_path=str(tmp_path / "shm"), container_path="/dev/shm")
    script = "cat /etc/resolv.conf; ls /dev/shm"
    assert run(shim, pod, config, script) == "nameserver 192.0.2.9\nmine\n"


@pytest.mark.parametrize(
    ("fields", "code", "word"),
    [
        ({"host_path": "/not/here"}, grpc.StatusCode.NOT_FOUND, "'/not/here' does not exist"),
        ({"host_path": "relative"}, grpc.StatusCode.INVALID_ARGUMENT, "not absolute"),
        ({"host_path": ""}, grpc.StatusCode.INVALID_ARGUMENT, "host_path is empty"),
        ({"host_path": "/etc/passwd/x"}, grpc.StatusCode.INVALID_ARGUMENT, "Not a directory"),
        ({"container_path": ""}, grpc.StatusCode.INVALID_ARGUMENT, "container_path is empty"),
        ({"container_path": "/"}, grpc.StatusCode.INVALID_ARGUMENT, "the root itself"),
        ({"propagation": 7}, grpc.StatusCode.INVALID_ARGUMENT, "propagation 7"),
        ({"mount_options": ["suid"]}, grpc.StatusCode.INVALID_ARGUMENT, "'suid'"),
        ({"recursive_read_only": True}, grpc.StatusCode.INVALID_ARGUMENT, "needs readonly"),
        (
            {
                "recursive_read_only": True,
                "readonly": True,
                "propagation": cri.PROPAGATION_HOST_TO_CONTAINER,
            },
            grpc.StatusCode.INVALID_ARGUMENT,
            "PROPAGATION_PRIVATE",
        ),
    ],
)
def test_mounts_that_cannot_be(
    shim: Shim,
    pod: str,
    config: cri.ContainerConfig,
    fields: dict[str, Any],
    code: grpc.StatusCode,
    word: str,
) -> None:
    config.mounts.add(**{"host_path": "/etc", "container_path": "/data", **fields})
    found, text = refusal(shim, pod, config)
    assert (found, word in text) == (code, True), text


def test_a_loop_of_links(shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    config.mounts.add(host_path=str(tmp_path / "a"), container_path="/data")
    code, text = refusal(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "levels of symbolic links" in text


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs (nosuid, nodev) with another one mounted at `below`."""
    tree = tmp_path / "tree"
    tree.mkdir()
    mounts.tmpfs(tree, 1 << 20, flags=mounts.Flag.NOSUID | mounts.Flag.NODEV)
    (tree / "below").mkdir()
    mounts.tmpfs(tree / "below", 1 << 20, flags=mounts.Flag(0))
    yield tree
    unmount_all(tree)


WRITE = "for d in /data /data/below; do touch $d/x && echo $d; done"


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({}, ["/data", "/data/below"]),
        ({"readonly": True}, ["/data/below"]),
        ({"readonly": True, "recursive_read_only": True}, []),
    ],
)
def test_readonly(
    shim: Shim,
    pod: str,
    config: cri.ContainerConfig,
    tree: Path,
    fields: dict[str, Any],
    written: list[str],
) -> None:
    config.mounts.add(host_path=str(tree), container_path="/data", **fields)
    said = run(shim, pod, config, WRITE).splitlines()
    assert [line for line in said if line.startswith("/")] == written
    assert sum("Read-only file system" in line for line in said) == 2 - len(written)


@pytest.mark.parametrize("readonly", [False, True])
def test_options(
    shim: Shim, pod: str, config: cri.ContainerConfig, tree: Path, readonly: bool
) -> None:
    """Those asked for are there, and none that the source has is lost."""
    config.mounts.add(
        host_path=str(tree), container_path="/data", readonly=readonly, mount_options=["noexec"]
    )
    (tree / "program").write_bytes(Path(busybox.BUSYBOX).read_bytes()[:100])
    (tree / "program").chmod(0o755)
    said = run(shim, pod, config, "grep ' /data ' /proc/mounts; /data/program")
    options = said.splitlines()[0].split()[3].split(",")
    assert {"nosuid", "nodev", "noexec", "ro" if readonly else "rw"} <= set(options)
    assert "Permission denied" in said


def test_options_of_a_plain_source(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    config.mounts.add(
        host_path=str(tmp_path), container_path="/data", mount_options=["nosuid", "nodev"]
    )
    options = run(shim, pod, config, "grep ' /data ' /proc/mounts").split()[3].split(",")
    assert {"nosuid", "nodev"} <= set(options)
    assert "noexec" not in options


def test_status_tells_them_as_asked(
    shim: Shim, pod: str, config: cri.ContainerConfig, tree: Path
) -> None:
    add = config.mounts.add
    add(host_path=str(tree), container_path="/z/../b", readonly=True, recursive_read_only=True)
    add(host_path=str(tree), container_path="/a", mount_options=["nodev"], selinux_relabel=True)
    container = pods.create(shim, pod, config)
    assert list(pods.status(shim, container).mounts) == list(config.mounts)
    shim.restart()
    assert list(pods.status(shim, container).mounts) == list(config.mounts)
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


def test_id_mappings_need_a_runtime_that_has_them(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    handler = pod_handler(shim, pod)
    mount = config.mounts.add(host_path=str(tmp_path), container_path="/data")
    for mappings in (mount.uidMappings, mount.gidMappings):
        mappings.add(container_id=0, host_id=5000, length=10)
    if features(shim, handler).user_namespaces:
        config.linux.security_context.run_as_user.value = 5003
        config.linux.security_context.run_as_group.value = 5004
        tmp_path.chmod(0o777)
        assert run(shim, pod, config, "touch /data/x; stat -c %u:%g /data/x") == "5003:5004\n"
        made = (tmp_path / "x").stat()
        assert (made.st_uid, made.st_gid) == (3, 4)
        return
    code, text = refusal(shim, pod, config)
    assert code is grpc.StatusCode.UNIMPLEMENTED
    assert "idmapped mounts" in text


def pod_handler(shim: Shim, pod: str) -> str:
    request = cri.PodSandboxStatusRequest(pod_sandbox_id=pod)
    return str(shim.runtime.PodSandboxStatus(request).status.runtime_handler)


def features(shim: Shim, handler: str) -> Any:
    answer = shim.runtime.Status(cri.StatusRequest())
    return next(h.features for h in answer.runtime_handlers if h.name == handler)


def test_what_is_advertised(shim: Shim) -> None:
    """Debian's runc 1.1 has recursive read-only mounts and no mapped ones, crun 1.8 both."""
    for handler, binary in json.loads(status_info(shim)["handlers"]).items():
        found = features(shim, handler)
        assert found.recursive_read_only_mounts, binary
        if handler in HANDLERS:
            assert found.user_namespaces == (handler == "crun"), binary
    answer = shim.runtime.Status(cri.StatusRequest())
    assert answer.features.supplemental_groups_policy
    assert answer.features.mount_options


def status_info(shim: Shim) -> dict[str, str]:
    return dict(shim.runtime.Status(cri.StatusRequest(verbose=True)).info)
