"""CDI devices: what their specification files say happens in the container."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim, running

IMAGE = "example.org/busybox:1"


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The less important directory first; the second is not there at the daemon's start."""
    base = tmp_path_factory.mktemp("cdi")
    (base / "etc").mkdir()
    return base / "etc", base / "run"


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Path,
    handler_settings: dict[str, str],
    directories: tuple[Path, Path],
) -> Iterator[Shim]:
    settings = {"runtime.cdi_dirs": json.dumps([str(f) for f in directories])}
    with running(tmp_path_factory.mktemp("shim"), handler_settings | settings) as daemon:
        daemon.load(layout, IMAGE)
        yield daemon


def write(directory: Path, name: str, **document: Any) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps({"cdiVersion": "0.7.0", **document}))


def shell(shim: Shim, container: str, script: str) -> str:
    answer = pods.execute(shim, container, "/bin/sh", "-c", script)
    assert answer.exit_code == 0, answer.stderr
    return str(answer.stdout.decode())


def named(*devices: str, annotation: str = "") -> cri.ContainerConfig:
    config = pods.container_config(IMAGE)
    for device in devices:
        config.CDI_devices.add(name=device)
    if annotation:
        config.annotations["cdi.k8s.io/test"] = annotation
    return config


def device(name: str, **edits: Any) -> dict[str, Any]:
    return {"name": name, "containerEdits": edits}


@pytest.fixture(params=["field", "annotation"])
def two_gpus(request: pytest.FixtureRequest) -> cri.ContainerConfig:
    """The same two devices, by either way."""
    names = ("vendor.com/gpu=0", "vendor.com/gpu=1")
    return named(*names) if request.param == "field" else named(annotation=",".join(names))


def test_every_edit(
    shim: Shim,
    pod: str,
    directories: tuple[Path, Path],
    tmp_path: Path,
    two_gpus: cri.ContainerConfig,
) -> None:
    (tmp_path / "library").write_text("driver")
    hook = ["sh", "-c", f"cat >/dev/null; echo $HOOK $0 >> {tmp_path}/hooked", "word"]
    write(
        directories[0],
        "vendor.json",
        kind="vendor.com/gpu",
        containerEdits={
            "env": ["VENDOR=all"],
            "mounts": [
                {
                    "hostPath": str(tmp_path / "library"),
                    "containerPath": "/usr/lib/library",
                    "options": ["ro", "nosuid", "nodev", "bind"],
                }
            ],
        },
        devices=[
            device(
                "0", env=["GPU=0"], deviceNodes=[{"path": "/dev/gpu0", "hostPath": "/dev/fuse"}]
            ),
            device(
                "1",
                env=["GPU=1"],
                additionalGids=[4242],
                deviceNodes=[
                    {"path": "/dev/gpu1", "hostPath": "/dev/null", "permissions": "r", "gid": 77}
                ],
                hooks=[
                    {
                        "hookName": "createRuntime",
                        "path": "/bin/sh",
                        "args": hook,
                        "env": ["HOOK=ran"],
                    }
                ],
            ),
        ],
    )
    container = pods.run_container(shim, pod, two_gpus)
    assert shell(shim, container, "echo $VENDOR $GPU; cat /usr/lib/library") == "all 1\ndriver"
    assert "4242" in shell(shim, container, "id -G").split()
    assert shell(shim, container, ": < /dev/gpu0; stat -c %g /dev/gpu1") == "77\n"
    assert (tmp_path / "hooked").read_text() == "ran word\n"
    refused = pods.execute(shim, container, "/bin/sh", "-c", "echo > /usr/lib/library")
    assert refused.exit_code != 0


def test_a_later_directory_wins_and_is_read_anew(
    shim: Shim, pod: str, directories: tuple[Path, Path]
) -> None:
    for number, directory in enumerate(directories):
        edits = device("a", env=[f"FROM={number}"])
        write(directory, "b.json", kind="vendor.com/nic", devices=[edits])
    container = pods.run_container(shim, pod, named("vendor.com/nic=a"))
    assert shell(shim, container, "echo $FROM") == "1\n"
    (directories[1] / "b.json").unlink()
    again = named("vendor.com/nic=a")
    again.metadata.name = "again"
    assert shell(shim, pods.run_container(shim, pod, again), "echo $FROM") == "0\n"


def test_a_file_in_yaml_beside_a_broken_one(
    shim: Shim, pod: str, directories: tuple[Path, Path]
) -> None:
    text = """
cdiVersion: 0.3.0
kind: vendor.com/fpga
devices:
- name: f
  containerEdits:
    env: [FPGA=yes]
"""
    (directories[0] / "f.yaml").write_text(text)
    (directories[0] / "broken.json").write_text("{")
    container = pods.run_container(shim, pod, named("vendor.com/fpga=f"))
    assert shell(shim, container, "echo $FPGA") == "yes\n"
    (directories[0] / "broken.json").unlink()


def refused(shim: Shim, pod: str, config: cri.ContainerConfig) -> str:
    before = shim.leftovers()
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, config)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert shim.leftovers() == before
    return error.value.details() or ""


def test_an_unknown_device(shim: Shim, pod: str, directories: tuple[Path, Path]) -> None:
    for config in (named("vendor.com/gpu=none"), named(annotation="vendor.com/gpu=none")):
        text = refused(shim, pod, config)
        assert "vendor.com/gpu=none" in text
        assert all(str(directory) in text for directory in directories)


def test_a_name_that_is_none(shim: Shim, pod: str) -> None:
    assert "'gpu0'" in refused(shim, pod, named("gpu0"))


def test_a_node_that_the_host_lacks(shim: Shim, pod: str, directories: tuple[Path, Path]) -> None:
    edits = device("x", deviceNodes=[{"path": "/dev/no-such-device"}])
    write(directories[0], "gone.json", kind="vendor.com/gone", devices=[edits])
    assert "/dev/no-such-device" in refused(shim, pod, named("vendor.com/gone=x"))


def test_a_missing_mount_source(
    shim: Shim, pod: str, directories: tuple[Path, Path], tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone")
    edits = device("x", mounts=[{"hostPath": gone, "containerPath": "/x", "options": ["bind"]}])
    write(directories[0], "nomount.json", kind="vendor.com/nomount", devices=[edits])
    assert gone in refused(shim, pod, named("vendor.com/nomount=x"))
