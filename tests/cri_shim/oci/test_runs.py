"""Composed documents run with real runc and crun: what the process sees is what was asked."""

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import ContainerSpec, ProcessUser
from cri_shim.model.image import ImageConfig
from cri_shim.model.resources import LinuxResources
from cri_shim.model.security import Profile, ProfileKind
from cri_shim.oci import capabilities
from cri_shim.oci.document import compose, render
from cri_shim.oci.facts import (
    NEW,
    CgroupFacts,
    DeviceNode,
    Facts,
    Layout,
    PodFiles,
    PodNamespaces,
    Rlimit,
    RuntimeFeatures,
    SeccompFacts,
)
from cri_shim.oci.process import exec_process
from cri_shim.oci.resources import resources_update
from tests.cri_shim.oci.oci_inputs import config, resolved, spec

BUSYBOX = "/bin/busybox"
CGROUPS = Path("/sys/fs/cgroup")
V2 = (CGROUPS / "cgroup.controllers").exists()
SWAP = (CGROUPS / "memory/memory.memsw.limit_in_bytes").exists()
_HYBRID = 'umount /sys/fs/cgroup/unified && exec "$@"'
"""crun refuses a host with both; in a mount namespace of its own it does not see the second."""

MIB = 1 << 20
FIRST_ID = 100000
APPLETS = "sh cat id mkdir touch hostname ls sleep stat"


def _own_bounding_set() -> frozenset[str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("CapBnd"))
    return capabilities.from_mask(int(mask, 16))


def _host_facts(rootfs: Path) -> Facts:
    known = capabilities.known(int(Path("/proc/sys/kernel/cap_last_cap").read_text()))
    layout = Layout.V2 if V2 else Layout.V1
    return Facts(
        rootfs=str(rootfs),
        image=ImageConfig(cmd=("/bin/sh",)),
        user=ProcessUser(0, 0, (0,)),
        cgroups_path=f"/berth-test-oci-{uuid.uuid4().hex}",
        capabilities=_own_bounding_set(),
        known_capabilities=known,
        cgroup=CgroupFacts(layout, frozenset({"cpu", "memory", "pids"}), swap=SWAP),
        namespaces=PodNamespaces(NEW, NEW, NEW),
        hostname="berth-test",
        files=PodFiles(),
        architecture=os.uname().machine,
        kernel=(6, 1),
        oom_floor=int(Path("/proc/self/oom_score_adj").read_text()),
    )


@dataclass
class Runner:
    """One OCI runtime, a directory for its bundle and state, one container."""

    command: list[str]
    directory: Path
    name: str

    def call(self, *args: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*self.command, "--root", str(self.directory / "state"), *args]
        return subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)

    def start(self, bundle: str) -> None:
        """In the background; its output goes nowhere, or reading it would never end."""
        command = [*self.command, "--root", str(self.directory / "state"), "run", "--detach"]
        null = subprocess.DEVNULL
        subprocess.run(
            [*command, "--bundle", bundle, self.name],
            stdin=null, stdout=null, stderr=null, timeout=60, check=True,
        )  # fmt: skip

    def write(self, document: dict[str, Any]) -> str:
        bundle = self.directory / "bundle"
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_bytes(render(document))
        return str(bundle)

    def run(self, wanted: ContainerSpec, facts: Facts) -> str:
        """Run to the end; what it wrote, with errors."""
        bundle = self.write(compose(wanted, facts))
        result = self.call("run", "--bundle", bundle, self.name)
        return (result.stdout + result.stderr).decode(errors="replace")

    def shell(self, script: str, facts: Facts, **changes: Any) -> str:
        wanted = spec(command=("/bin/sh", "-c", script), **changes)
        return self.run(wanted, resolved(wanted, facts))


def _make_rootfs(root: Path) -> Path:
    root.chmod(0o755)
    for name in ("bin", "etc", "tmp", "data"):
        (root / name).mkdir()
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    return root


@pytest.fixture(scope="module")
def rootfs() -> Iterator[Path]:
    """Not in pytest's own directory, which is for root alone: containers have other users."""
    with tempfile.TemporaryDirectory(prefix="berth-test-") as directory:
        yield _make_rootfs(Path(directory))


@pytest.fixture
def shifted_rootfs() -> Iterator[Path]:
    """As the root of a user namespace owns it."""
    with tempfile.TemporaryDirectory(prefix="berth-test-") as directory:
        root = _make_rootfs(Path(directory))
        for path in (root, *root.rglob("*")):
            os.lchown(path, FIRST_ID, FIRST_ID)
        yield root


@pytest.fixture(params=["runc", "crun"])
def runner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runner]:
    command = [request.param]
    if request.param == "crun" and not V2 and os.path.ismount("/sys/fs/cgroup/unified"):
        command = ["unshare", "-m", "sh", "-c", _HYBRID, "sh", "crun"]
    made = Runner(command, tmp_path, f"berth-test-{uuid.uuid4().hex}")
    yield made
    made.call("delete", "--force", made.name)


def _status(text: str) -> dict[str, str]:
    """Lines of /proc/self/status."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _capabilities(mask: str) -> set[str]:
    return set(capabilities.from_mask(int(mask, 16)))


def test_an_ordinary_container(runner: Runner, rootfs: Path) -> None:
    facts = replace(_host_facts(rootfs), user=ProcessUser(1000, 1000, (1000, 50000, 1234)))
    security = replace(
        spec(config()).security,
        seccomp=Profile(ProfileKind.RUNTIME_DEFAULT),
        readonly_rootfs=True,
        no_new_privs=True,
        masked_paths=("/proc/kcore", "/data"),
        readonly_paths=("/proc/sys",),
    )
    script = (
        "cat /proc/self/status; echo id:$(id -u):$(id -g):$(id -G); echo host:$(hostname);"
        "echo env:$LANG; echo cwd:$(pwd); echo masked:$(ls /data)$(cat /proc/kcore);"
        "touch /x; touch /tmp/x; cat /proc/1/oom_score_adj; ls /proc/self/fd | cat;"
    )
    limits = (Rlimit("RLIMIT_NOFILE", 64, 128),)
    out = runner.shell(
        script + "echo limit:$(ulimit -n):$(ulimit -Hn)",
        replace(facts, rlimits=limits),
        security=security,
        envs=(("LANG", "C.ütf".encode()),),
        working_dir="/tmp/made",
        resources=LinuxResources(oom_score_adj=500),
    )
    status = _status(out)
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    assert status["CapEff"] == "0" * 16
    assert _capabilities(status["CapBnd"]) == set(capabilities.DEFAULT)
    assert (
        status["id"] == "1000:1000:1000 1234 50000" or status["id"] == "1000:1000:1000 50000 1234"
    )
    assert status["host"] == "berth-test"
    assert status["env"] == "C.ütf"
    assert status["cwd"] == "/tmp/made"
    assert status["masked"] == ""
    assert out.count("Read-only file system") == 2
    assert "\n500\n" in out
    assert status["limit"] == "64:128"


def test_capabilities_of_root(runner: Runner, rootfs: Path) -> None:
    wanted = replace(
        spec(config()).security,
        capabilities=capabilities.Capabilities(add=("CAP_NET_ADMIN", "CAP_CHOWN"), drop=("ALL",)),
    )
    status = _status(runner.shell("cat /proc/self/status", _host_facts(rootfs), security=wanted))
    expected = {"CAP_NET_ADMIN", "CAP_CHOWN"}
    assert _capabilities(status["CapBnd"]) == _capabilities(status["CapEff"]) == expected
    assert status["CapInh"] == status["CapAmb"] == "0" * 16
    assert status["Seccomp"] == "0"


def test_ambient_capabilities_reach_a_user(runner: Runner, rootfs: Path) -> None:
    facts = replace(_host_facts(rootfs), user=ProcessUser(1000, 1000))
    asked = capabilities.Capabilities(
        add=("CAP_NET_BIND_SERVICE",), ambient=("CAP_NET_BIND_SERVICE",)
    )
    wanted = replace(spec(config()).security, capabilities=asked)
    status = _status(runner.shell("cat /proc/self/status", facts, security=wanted))
    assert _capabilities(status["CapEff"]) == {"CAP_NET_BIND_SERVICE"}


def test_privileged(runner: Runner, rootfs: Path) -> None:
    node = os.stat("/dev/null")
    mine = DeviceNode("/dev/mine", "c", os.major(node.st_rdev), os.minor(node.st_rdev), 0o600)
    facts = replace(_host_facts(rootfs), host_devices=(mine,))
    wanted = replace(
        spec(config()).security,
        privileged=True,
        masked_paths=("/proc/kcore",),
        seccomp=Profile(ProfileKind.RUNTIME_DEFAULT),
    )
    out = runner.shell(
        "cat /proc/self/status; echo dev:$(stat -c %a:%t:%T /dev/mine); cat /proc/mounts",
        facts,
        security=wanted,
    )
    status = _status(out)
    assert _capabilities(status["CapEff"]) == set(_own_bounding_set())
    assert status["Seccomp"] == "0"
    assert status["dev"] == "600:1:3"
    sysfs = next(line.split() for line in out.splitlines() if line.startswith("sysfs /sys "))
    assert "rw" in sysfs[3].split(",")
    assert "/proc/kcore" not in out


def test_seccomp_profile_from_a_file(runner: Runner, rootfs: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122}],
    }
    facts = replace(
        _host_facts(rootfs), seccomp=SeccompFacts(localhost=json.dumps(profile).encode())
    )
    wanted = replace(
        spec(config()).security, seccomp=Profile(ProfileKind.LOCALHOST, "no-mkdir.json")
    )
    out = runner.shell("cat /proc/self/status; mkdir /tmp/x", facts, security=wanted)
    assert _status(out)["Seccomp"] == "2"
    assert "Disk quota exceeded" in out or "Quota exceeded" in out


def test_the_default_profile_blocks_calls(runner: Runner, rootfs: Path) -> None:
    """New user namespaces need no capability: only the filter is in their way."""
    facts = _host_facts(rootfs)
    open_ = runner.shell("/bin/busybox unshare -U echo made", facts)
    assert "made" in open_
    filtered = replace(spec(config()).security, seccomp=Profile(ProfileKind.RUNTIME_DEFAULT))
    out = runner.shell("/bin/busybox unshare -U echo made", facts, security=filtered)
    assert "made" not in out
    assert "Operation not permitted" in out


def test_mounts(runner: Runner, rootfs: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "file").write_text("from a file")
    (tmp_path / "hosts").write_text("from hosts")
    shutil.copy(BUSYBOX, source / "busybox")
    message = config()
    message.mounts.add(container_path="/data/deep/er", host_path=str(source), readonly=True)
    message.mounts.add(container_path="/data", host_path=str(source))
    message.mounts.add(container_path="/made/file", host_path=str(source / "file"))
    message.mounts.add(container_path="/q", host_path=str(source), mount_options=["noexec"])
    found = spec(message)
    facts = replace(_host_facts(rootfs), files=PodFiles(hosts=str(tmp_path / "hosts")))
    out = runner.shell(
        "cat /made/file /etc/hosts; touch /data/deep/er/x; touch /data/new;"
        "/q/busybox true; ls /data; cat /proc/mounts",
        facts,
        mounts=found.mounts,
    )
    assert "from a filefrom hosts" in out
    assert "/data/deep/er/x: Read-only file system" in out
    assert (source / "new").exists()
    assert "Permission denied" in out
    proc = {line.split()[1]: line.split()[3] for line in out.splitlines() if line.count(" ") == 5}
    assert "ro" in proc["/sys"].split(",")
    assert "noexec" in proc["/q"].split(",")


def test_devices(runner: Runner, rootfs: Path) -> None:
    """A device that was not given can be made, but not opened."""
    message = config()
    message.devices.add(host_path="/dev/zero", container_path="/dev/my/zero", permissions="r")
    wanted = spec(message)
    facts = _host_facts(rootfs)
    rdev = os.stat("/dev/zero").st_rdev
    node = DeviceNode("/dev/zero", "c", os.major(rdev), os.minor(rdev), 0o640)
    script = (
        "stat -c %F:%a:%t:%T /dev/my/zero; /bin/busybox mknod /tmp/kmsg c 1 11; cat /tmp/kmsg;"
        "/bin/busybox rm /tmp/kmsg"
    )
    changed = replace(wanted, command=("/bin/sh", "-c", script))
    made = resolved(changed, facts)
    made = replace(made, devices=(replace(made.devices[0], nodes=(node,)),))
    out = runner.run(changed, made)
    assert "character special file:640:1:5" in out
    assert "Operation not permitted" in out


def _cgroup_file(facts: Facts, v1: str, v2: str) -> str:
    path = facts.cgroups_path.lstrip("/")
    if V2:
        return (CGROUPS / path / v2).read_text().strip()
    return (CGROUPS / v1.partition(".")[0] / path / v1).read_text().strip()


def test_limits_updates_and_exec(runner: Runner, rootfs: Path) -> None:
    facts = _host_facts(rootfs)
    limits = LinuxResources(
        cpu_quota=50000, cpu_period=100000, memory_limit=64 * MIB, unified={"pids.max": "33"}
    )
    wanted = spec(command=("/bin/sleep", "60"), resources=limits)
    document = compose(wanted, resolved(wanted, facts))
    bundle = runner.write(document)
    runner.start(bundle)
    assert _cgroup_file(facts, "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert _cgroup_file(facts, "pids.max", "pids.max") == "33"
    quota = _cgroup_file(facts, "cpu.cfs_quota_us", "cpu.max").split()[0]
    assert quota == "50000"

    process = runner.directory / "process.json"
    words = ["/bin/sh", "-c", "echo host:$(hostname); id -u"]
    process.write_bytes(render(exec_process(document, words, tty=False)))
    executed = runner.call("exec", "--process", str(process), runner.name)
    assert executed.stdout == b"host:berth-test\n0\n"

    update = resources_update(LinuxResources(memory_limit=96 * MIB, cpu_quota=70000), facts.cgroup)
    done = runner.call("update", "--resources", "-", runner.name, data=json.dumps(update).encode())
    assert done.returncode == 0, done.stderr
    assert _cgroup_file(facts, "memory.limit_in_bytes", "memory.max") == str(96 * MIB)
    assert _cgroup_file(facts, "cpu.cfs_quota_us", "cpu.max").split()[0] == "70000"


@pytest.mark.parametrize("network", [cri.POD, cri.NODE])
def test_a_user_namespace(runner: Runner, shifted_rootfs: Path, network: cri.NamespaceMode) -> None:
    message = config()
    options = message.linux.security_context.namespace_options
    options.network = network
    for mappings in (options.userns_options.uids, options.userns_options.gids):
        mappings.add(container_id=0, host_id=FIRST_ID, length=65536)
    security = spec(message).security
    spaces = PodNamespaces(NEW, NEW, NEW, user=NEW)
    facts = replace(_host_facts(shifted_rootfs), namespaces=spaces)
    script = "cat /proc/self/uid_map /proc/self/status; touch /sys/x; ls -d /sys/class; "
    out = runner.shell(script + "echo id:$(id -u)", facts, security=security)
    assert out.split()[:3] == ["0", str(FIRST_ID), "65536"]
    status = _status(out)
    assert status["id"] == "0"
    assert _capabilities(status["CapEff"]) == set(capabilities.DEFAULT)
    assert "/sys/x: Read-only file system" in out
    assert "/sys/class\n" in out


@pytest.mark.parametrize("runner", ["crun"], indirect=True)
def test_idmapped_and_recursively_readonly_mounts(runner: Runner, shifted_rootfs: Path) -> None:
    """Only crun: runc before 1.2 passes over the mappings."""
    message = config()
    options = message.linux.security_context.namespace_options.userns_options
    with tempfile.TemporaryDirectory(prefix="berth-test-") as source:
        os.chown(source, 5, 5)
        volume = message.mounts.add(container_path="/volume", host_path=source)
        message.mounts.add(
            container_path="/tree", host_path="/sys/fs", readonly=True, recursive_read_only=True
        )
        for mappings in (options.uids, options.gids, volume.uidMappings, volume.gidMappings):
            mappings.add(container_id=0, host_id=FIRST_ID, length=65536)
        wanted = spec(message)
        facts = replace(
            _host_facts(shifted_rootfs),
            namespaces=PodNamespaces(NEW, NEW, NEW, user=NEW),
            features=RuntimeFeatures(recursive_readonly=True, idmapped_mounts=True),
        )
        out = runner.shell(
            "echo owner:$(stat -c %u:%g /volume); cat /proc/mounts",
            facts,
            security=wanted.security,
            mounts=wanted.mounts,
        )
    assert _status(out)["owner"] == "5:5"
    below = [line for line in out.splitlines() if " /tree" in line]
    assert below
    assert all(line.split()[3].startswith("ro,") for line in below)
