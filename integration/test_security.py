"""Capabilities, privileges and paths, as the kernel shows them inside the container."""

import os
import re
import subprocess
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from cri_shim.oci import capabilities
from tests.support import busybox, pods
from tests.support.image import BuiltImage, Layer, layout_files, member, write_directory
from tests.support.shim import Shim

LAST = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
SETS = {"inheritable": "CapInh", "permitted": "CapPrm", "bounding": "CapBnd", "ambient": "CapAmb"}


pytestmark = pytest.mark.pod(config=pods.privileged)


def own_bounding() -> frozenset[str]:
    found = re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())
    assert found
    return capabilities.from_mask(int(found[1], 16))


HERE = own_bounding() & capabilities.known(LAST)
USUAL = capabilities.DEFAULT & HERE


def caps(*names: str) -> frozenset[str]:
    return frozenset(f"CAP_{name}" for name in names)


NETWORK_AND_TIME = caps("NET_ADMIN", "SYS_TIME")


@pytest.mark.parametrize(
    ("add", "drop", "found"),
    [
        ([], [], USUAL),
        (["NET_ADMIN"], [], USUAL | caps("NET_ADMIN")),
        (["cap_net_admin", "Sys_Time"], ["CAP_CHOWN"], (USUAL | NETWORK_AND_TIME) - caps("CHOWN")),
        ([], ["KILL"], USUAL - caps("KILL")),
        (["ALL"], [], HERE),
        (["all"], ["NET_RAW"], HERE - caps("NET_RAW")),
        ([], ["CAP_ALL"], frozenset()),
        (["NET_RAW"], ["all"], caps("NET_RAW")),
    ],
)  # fmt: skip
def test_capabilities(
    shim: Shim,
    pod: str,
    config: cri.ContainerConfig,
    add: list[str],
    drop: list[str],
    found: frozenset[str],
) -> None:
    wanted = config.linux.security_context.capabilities
    wanted.add_capabilities.extend(add)
    wanted.drop_capabilities.extend(drop)
    status = pods.run_script(shim, pod, config, "cat /proc/1/status")
    assert caps_of(status, "permitted") == found
    assert caps_of(status, "bounding") == found
    assert caps_of(status, "inheritable") == caps_of(status, "ambient") == frozenset()


def caps_of(status: str, kind: str) -> frozenset[str]:
    found = re.search(rf"{SETS[kind]}:\s*(\w+)", status)
    assert found, status
    return capabilities.from_mask(int(found[1], 16))


def test_ambient_capabilities_reach_other_users(
    shim: Shim, pod: str, config: cri.ContainerConfig
) -> None:
    """What is not ambient is lost to who is not root."""
    context = config.linux.security_context
    context.run_as_user.value = 1000
    context.capabilities.add_capabilities.append("NET_ADMIN")
    context.capabilities.add_ambient_capabilities.append("NET_ADMIN")
    status = pods.run_script(shim, pod, config, "cat /proc/self/status")
    assert caps_of(status, "ambient") == caps_of(status, "permitted") == caps("NET_ADMIN")
    assert caps_of(status, "bounding") == USUAL | caps("NET_ADMIN")


def test_capabilities_that_there_are_not(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    context = config.linux.security_context.capabilities
    context.add_capabilities.append("FLY")
    code, text = pods.refused_create(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "CAP_FLY" in text
    context.add_capabilities[:] = []
    context.add_ambient_capabilities.append("NET_ADMIN")
    code, text = pods.refused_create(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "add_capabilities" in text


def test_what_a_capability_allows(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    """A changed owner is the plainest thing that root without the capability cannot do."""
    script = "touch /tmp/f && chown 7 /tmp/f && echo changed"
    assert pods.run_script(shim, pod, config, script) == "changed\n"
    config.linux.security_context.capabilities.drop_capabilities.append("CHOWN")
    assert "not permitted" in pods.run_script(shim, pod, config, script)


def test_privileged(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    context = config.linux.security_context
    context.privileged = True
    context.masked_paths.append("/proc/keys")
    context.readonly_paths.append("/proc/sys")
    context.seccomp.profile_type = cri.SecurityProfile.RuntimeDefault
    script = (
        "cat /proc/1/status; grep -E ' (/sys|/proc/sys|/sys/fs/cgroup) ' /proc/mounts;"
        "mkdir /tmp/m && mount -t tmpfs x /tmp/m && echo mounted; wc -c < /proc/keys"
    )
    said = pods.run_script(shim, pod, config, script)
    assert caps_of(said, "permitted") == HERE
    assert "Seccomp:\t0" in said
    assert "mounted" in said
    assert re.search(r"^sysfs /sys sysfs rw,", said, re.MULTILINE)
    assert " /proc/sys " not in said
    assert said.split()[-1] != "0"


def test_unprivileged(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    """Its own cgroup shows, on v1 in each hierarchy, and nothing there can be written."""
    script = (
        "grep ' /sys ' /proc/mounts; mkdir /tmp/m; mount -t tmpfs x /tmp/m; cd /sys/fs/cgroup;"
        "[ ! -d memory ] || cd memory; mkdir x; ls /dev"
    )
    sys, mount, cgroup, *devices = pods.run_script(shim, pod, config, script).strip().split("\n")
    assert sys.startswith("sysfs /sys sysfs ro,")
    assert "permission denied" in mount
    assert "Read-only file system" in cgroup
    usual = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert set(devices) - {"core"} == set(usual.split())


def test_privileged_needs_a_privileged_pod(
    shim: Shim, handler: str, config: cri.ContainerConfig
) -> None:
    plain = pods.run_pod(shim, handler=handler)
    config.linux.security_context.privileged = True
    code, text = pods.refused_create(shim, plain, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "pod is not privileged" in text
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=plain))


def test_masked_and_readonly_paths(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    """Exactly those given: the defaults are the kubelet's to name."""
    context = config.linux.security_context
    context.masked_paths.extend(["/proc/uptime", "/sys/kernel", "/not/there"])
    context.readonly_paths.extend(["/proc/sys", "/not/there"])
    script = (
        "wc -c < /proc/uptime; ls /sys/kernel | wc -l; wc -c < /proc/meminfo;"
        "echo x > /proc/sys/kernel/domainname; cut -d' ' -f2 /proc/mounts"
    )
    masked, kernel, meminfo, domain, *places = pods.run_script(shim, pod, config, script).split(
        "\n"
    )
    assert (masked, kernel) == ("0", "0")
    assert int(meminfo) > 0
    assert "Read-only file system" in domain
    assert {p for p in places if p.startswith("/proc/")} == {"/proc/uptime", "/proc/sys"}


def test_no_paths_are_masked_unless_asked(
    shim: Shim, pod: str, config: cri.ContainerConfig
) -> None:
    """ProcMount Unmasked is an empty list."""
    places = pods.run_script(shim, pod, config, "cut -d' ' -f2 /proc/mounts").split("\n")
    assert [p for p in places if p.startswith(("/proc/", "/sys/")) and "cgroup" not in p] == []


def test_a_path_to_mask_must_be_absolute(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    config.linux.security_context.masked_paths.append("proc/kcore")
    code, text = pods.refused_create(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "masked_paths" in text


def test_readonly_root(shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path) -> None:
    """/dev/shm and volumes stay writable."""
    config.linux.security_context.readonly_rootfs = True
    config.mounts.add(host_path=str(tmp_path), container_path="/data")
    script = "touch /x; touch /dev/shm/x /data/x && echo ok; echo 1 >> /etc/resolv.conf"
    root, fine, resolv = pods.run_script(shim, pod, config, script).strip().split("\n")
    assert "Read-only file system" in root
    assert fine == "ok"
    assert "Read-only file system" in resolv
    assert (tmp_path / "x").exists()


def test_a_root_is_writable_otherwise(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    assert pods.run_script(shim, pod, config, "touch /x && echo ok") == "ok\n"


@pytest.fixture(scope="module")
def suid_image(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Busybox, and Debian's `cat` with the set-user-id bit and the libraries that it needs."""
    listing = subprocess.run(["ldd", "/usr/bin/cat"], capture_output=True, text=True, check=True)
    libraries = [w for w in listing.stdout.split() if w.startswith("/")]
    extra = Layer.of(
        member("bin/sucat", Path("/usr/bin/cat").read_bytes(), mode=0o4755),
        *[member(p.lstrip("/"), Path(p).read_bytes(), mode=0o755) for p in libraries],
    )
    built = BuiltImage([busybox.layer(), extra], {"Env": ["PATH=/bin"]})
    path = tmp_path_factory.mktemp("suid")
    write_directory(path, layout_files([built], [built.described()]))
    shim.load(path, "example.org/suid:1")
    return "example.org/suid:1"


@pytest.mark.parametrize("forbidden", [False, True])
def test_no_new_privileges(shim: Shim, pod: str, suid_image: str, forbidden: bool) -> None:
    config = pods.container_config(suid_image)
    config.linux.security_context.run_as_user.value = 1000
    config.linux.security_context.no_new_privs = forbidden
    said = pods.run_script(shim, pod, config, "/bin/sucat /proc/self/status")
    assert f"NoNewPrivs:\t{int(forbidden)}\n" in said
    effective = re.search(r"Uid:\t1000\t(\d+)", said)
    assert effective and effective[1] == ("1000" if forbidden else "0")


def test_apparmor(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    """Only a profile by name is an error where it is missing; the new field beats the old one."""
    on_host = os.path.exists("/sys/kernel/security/apparmor/profiles")
    context = config.linux.security_context
    for kind in (cri.SecurityProfile.RuntimeDefault, cri.SecurityProfile.Unconfined):
        context.apparmor.profile_type = kind
        assert pods.run_script(shim, pod, config, "echo ok") == "ok\n"
    context.ClearField("apparmor")
    context.apparmor_profile = "localhost/berth-absent"
    code, text = pods.refused_create(shim, pod, config)
    wanted = grpc.StatusCode.FAILED_PRECONDITION if on_host else grpc.StatusCode.UNIMPLEMENTED
    assert code is wanted
    assert "'berth-absent'" in text
    context.apparmor.profile_type = cri.SecurityProfile.Unconfined
    assert pods.run_script(shim, pod, config, "echo ok") == "ok\n"
    context.ClearField("apparmor")
    context.apparmor_profile = "complain"
    code, text = pods.refused_create(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "localhost/<profile>" in text
