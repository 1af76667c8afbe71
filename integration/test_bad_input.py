"""What cannot be done is refused whole: the right code, a text that helps, nothing left behind."""

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import busybox, pods
from tests.support.image import BuiltImage, layout_files, write_directory
from tests.support.shim import Shim

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    text = error.value.details() or ""
    assert "Traceback" not in text
    assert text
    return error.value.code(), text


@pytest.fixture
def clean(shim: Shim) -> object:
    """What the test refuses must leave what was there before, and no more."""
    before = (shim.leftovers(), cgroups())
    yield
    assert (shim.leftovers(), cgroups()) == before


def cgroups() -> list[str]:
    return sorted(str(p) for p in Path("/sys/fs/cgroup").glob(f"*{pods.PARENT}/*"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.metadata.ClearField("name"), "config.metadata.name is empty"),
        (lambda c: setattr(c, "hostname", "a b"), "config.hostname"),
        (lambda c: setattr(c, "log_directory", "logs"), "not an absolute path"),
        (lambda c: c.linux.sysctls.update({"vm.swappiness": "1"}), "not namespaced"),
        (lambda c: c.linux.sysctls.update({"net.core.somaxconn": "9"}), "network namespace"),
        (lambda c: setattr(c.linux, "cgroup_parent", "kubepods-x.slice"), "cgroupfs driver"),
        (lambda c: setattr(c.linux, "cgroup_parent", "/a/../b"), "climbs"),
        (lambda c: setattr(c.linux.resources, "cpu_period", -1), "cpu_period"),
    ],
)
def test_bad_pod(
    shim: Shim, clean: None, change: Callable[[cri.PodSandboxConfig], None], words: str
) -> None:
    config = pods.pod_config()
    change(config)
    code, text = refused(lambda: pods.run_pod(shim, config))
    assert code is INVALID
    assert words in text


def test_sysctl_that_the_kernel_refuses(shim: Shim, clean: None) -> None:
    config = pods.pod_config(host_network=False)
    config.linux.sysctls["net.ipv4.no_such"] = "1"
    code, text = refused(lambda: pods.run_pod(shim, config))
    assert code is INVALID
    assert "net.ipv4.no_such" in text


def test_unknown_handler(shim: Shim, clean: None) -> None:
    code, text = refused(lambda: pods.run_pod(shim, handler="gvisor"))
    assert code is INVALID
    assert "'gvisor'" in text and "runc" in text


def test_missing_image(shim: Shim, pod: str, clean: None) -> None:
    config = pods.container_config("example.org/none:1")
    code, text = refused(lambda: pods.create(shim, pod, config))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "'example.org/none:1'" in text and "pull" in text


def test_missing_mount_source(shim: Shim, pod: str, image: str, clean: None) -> None:
    mount = cri.Mount(host_path="/no/such/volume", container_path="/data")
    config = pods.container_config(image, mounts=[mount])
    code, text = refused(lambda: pods.create(shim, pod, config))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "config.mounts[0]" in text and "/no/such/volume" in text


def test_image_without_a_command(shim: Shim, pod: str, clean: None, tmp_path: Path) -> None:
    bare = BuiltImage([busybox.layer()], {"Env": ["PATH=/bin"]})
    path = write_directory(tmp_path / "bare", layout_files([bare]))
    shim.load(path, "example.org/bare:1")
    config = pods.container_config("example.org/bare:1", command=())
    code, text = refused(lambda: pods.create(shim, pod, config))
    assert code is INVALID
    assert "command" in text
    image = cri.ImageSpec(image="example.org/bare:1")
    shim.images.RemoveImage(cri.RemoveImageRequest(image=image))


def test_command_that_is_not_in_the_image(
    shim: Shim, image: str, handler: str, clean: None
) -> None:
    pod_id = pods.run_pod(shim, handler=handler)
    config = pods.container_config(image, ["/bin/no-such-program"])
    try:
        code, text = refused(lambda: pods.run_container(shim, pod_id, config))
    finally:
        shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))
    assert code is grpc.StatusCode.UNKNOWN
    assert "no-such-program" in text and "no such file" in text.lower()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: setattr(c.linux.security_context, "privileged", True), "not privileged"),
        (lambda c: c.linux.security_context.run_as_group.SetInParent(), "run_as_group"),
        (lambda c: setattr(c.linux.security_context, "run_as_username", "nobody"), "nobody"),
        (lambda c: c.envs.add(key="A=B", value=b"x"), "config.envs[0]"),
        (lambda c: c.envs.add(key="A", value=b"x\0"), "NUL"),
        (lambda c: c.devices.add(host_path="/etc/passwd"), "config.devices[0]"),
        (lambda c: c.CDI_devices.add(name="vendor.com/gpu=0"), "vendor.com/gpu=0"),
        (lambda c: setattr(c, "log_path", "../escape"), "climbs"),
        (lambda c: setattr(c.linux.resources, "cpuset_cpus", "3-1"), "backwards"),
    ],
)
def test_bad_container(
    shim: Shim,
    pod: str,
    image: str,
    clean: None,
    change: Callable[[cri.ContainerConfig], None],
    words: str,
) -> None:
    config = pods.container_config(image)
    change(config)
    code, text = refused(lambda: pods.create(shim, pod, config))
    assert code is INVALID, text
    assert words in text


def test_same_name_twice(shim: Shim, pod: str, image: str) -> None:
    pods.create(shim, pod, pods.container_config(image))
    code, text = refused(lambda: pods.create(shim, pod, pods.container_config(image)))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert "remove it first" in text


def test_verbs_on_what_is_not_there(shim: Shim) -> None:
    for call, request in (
        (shim.runtime.PodSandboxStatus, cri.PodSandboxStatusRequest(pod_sandbox_id="none")),
        (shim.runtime.ContainerStatus, cri.ContainerStatusRequest(container_id="none")),
        (shim.runtime.StartContainer, cri.StartContainerRequest(container_id="none")),
        (shim.runtime.ExecSync, cri.ExecSyncRequest(container_id="none", cmd=["true"])),
    ):
        code, _ = refused(lambda call=call, request=request: call(request))
        assert code is grpc.StatusCode.NOT_FOUND


def test_truncated_archive(shim: Shim, clean: None, tmp_path: Path) -> None:
    path = tmp_path / "broken.tar"
    path.write_bytes(b"\x1f\x8b\x08 not an archive")
    _, text = refused(lambda: shim.load(path, "example.org/broken:1"))
    assert "broken.tar" in text
