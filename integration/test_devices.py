"""Device nodes of the host in containers: by CRI's field, and all of them for privileged ones."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from berth.pb import runtime_v1_pb2 as cri
from berth.pb import shim_v1_pb2 as shim_pb
from tests.support import pods
from tests.support.shim import Shim

FUSE = "/dev/fuse"
"""A device that no container has by itself, and that anybody may open."""


def shell(shim: Shim, container: str, script: str) -> Any:
    return pods.execute(shim, container, "/bin/sh", "-c", script)


def document(shim: Shim, container: str) -> Any:
    request = shim_pb.ContainerSpecRequest(container_id=container)
    return json.loads(shim.shim.ContainerSpec(request).document)


@pytest.mark.parametrize(
    ("permissions", "reads", "writes"), [("r", 0, 1), ("w", 1, 0), ("rw", 0, 0), ("", 0, 0)]
)
def test_permissions(
    shim: Shim, pod: str, image: str, permissions: str, reads: int, writes: int
) -> None:
    config = pods.container_config(image)
    config.devices.add(host_path=FUSE, container_path="/dev/x/fuse", permissions=permissions)
    container = pods.run_container(shim, pod, config)
    assert shell(shim, container, "test -c /dev/x/fuse").exit_code == 0
    assert shell(shim, container, ": < /dev/x/fuse").exit_code == reads
    assert shell(shim, container, ": > /dev/x/fuse").exit_code == writes
    number = os.stat(FUSE).st_rdev
    [node] = [d for d in document(shim, container)["linux"]["devices"] if "fuse" in d["path"]]
    assert (node["major"], node["minor"]) == (os.major(number), os.minor(number))


def test_no_device_that_was_not_asked_for(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, pods.container_config(image))
    number = os.stat(FUSE).st_rdev
    make = f"mknod /tmp/fuse c {os.major(number)} {os.minor(number)} && : < /tmp/fuse"
    assert shell(shim, container, "ls /dev/fuse").exit_code == 1
    assert b"not permitted" in shell(shim, container, make).stderr


def test_a_directory_gives_all_below_it(shim: Shim, pod: str, image: str, tmp_path: Path) -> None:
    """A symlink inside is no device; what is no device is passed over."""
    (tmp_path / "gpus/deep").mkdir(parents=True)
    number = os.stat(FUSE).st_rdev
    for name in ("gpus/one", "gpus/deep/two"):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o640, number)
        os.chmod(tmp_path / name, 0o640)
    (tmp_path / "gpus/text").write_text("no device")
    (tmp_path / "gpus/link").symlink_to("one")
    config = pods.container_config(image)
    config.devices.add(host_path=str(tmp_path / "gpus"), container_path="/dev/gpus")
    container = pods.run_container(shim, pod, config)
    listing = shell(shim, container, "cd /dev/gpus && find . -type c | sort").stdout
    assert listing.split() == [b"./deep/two", b"./one"]
    assert shell(shim, container, ": < /dev/gpus/deep/two").exit_code == 0
    assert shell(shim, container, "stat -c %a /dev/gpus/one").stdout == b"640\n"


def test_a_symlink_is_followed(shim: Shim, pod: str, image: str, tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(FUSE)
    config = pods.container_config(image)
    config.devices.add(host_path=str(tmp_path / "by-id"), container_path="/dev/mine")
    container = pods.run_container(shim, pod, config)
    assert shell(shim, container, "test -c /dev/mine && : < /dev/mine").exit_code == 0


def test_a_privileged_container_has_the_hosts(shim: Shim, handler: str, image: str) -> None:
    config = pods.pod_config()
    config.linux.security_context.privileged = True
    pod_id = pods.run_pod(shim, config, handler)
    container_config = pods.container_config(image)
    container_config.linux.security_context.privileged = True
    container = pods.run_container(shim, pod_id, container_config, config)
    assert shell(shim, container, f": < {FUSE}").exit_code == 0
    hosts = {e.name for e in os.scandir("/dev") if e.name.startswith("loop") and not e.is_dir()}
    assert hosts <= set(shell(shim, container, "ls /dev").stdout.decode().split())
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))
