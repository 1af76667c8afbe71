"""Whole documents, compared with the files under tests/golden/oci.

Write them anew with `python tests/cri_shim/oci/test_golden.py --write`, and read the difference.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from berth.cdi.edits import CdiDevice, CdiHook, CdiMount, CdiNetDevice, Edits
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import ContainerSpec, ProcessUser
from cri_shim.model.resources import LinuxResources
from cri_shim.oci.document import compose
from cri_shim.oci.facts import (
    AppArmorFacts,
    DeviceNode,
    Facts,
    PodNamespaces,
    Rlimit,
    SELinuxFacts,
)
from tests.cri_shim.oci.oci_inputs import FACTS, V1, config, resolved, spec

GOLDEN = Path(__file__).parents[2] / "golden" / "oci"

Case = tuple[ContainerSpec, Facts]


def ordinary() -> Case:
    """As kubelet sends a plain container, on cgroup v2."""
    message = config()
    message.envs.add(key="BYTES", value=b"\xff")
    message.mounts.add(container_path="/etc/hosts", host_path="/kubelet/etc-hosts")
    message.mounts.add(container_path="/data", host_path="/kubelet/data", readonly=True)
    security = message.linux.security_context
    security.masked_paths.extend(["/proc/acpi", "/proc/kcore", "/sys/firmware"])
    security.readonly_paths.extend(["/proc/bus", "/proc/sys"])
    security.seccomp.profile_type = cri.SecurityProfile.RuntimeDefault
    resources = message.linux.resources
    resources.cpu_shares, resources.cpu_quota, resources.cpu_period = 512, 50000, 100000
    resources.memory_limit_in_bytes, resources.oom_score_adj = 1 << 28, 999
    resources.hugepage_limits.add(page_size="2MB", limit=0)
    resources.unified["memory.oom.group"] = "1"
    resources.unified["memory.swap.max"] = "0"
    found = spec(message)
    return found, resolved(found)


def privileged() -> Case:
    """With host namespaces and all devices of the host."""
    message = config()
    security = message.linux.security_context
    security.privileged = True
    options = security.namespace_options
    options.network = options.pid = options.ipc = cri.NODE
    found = spec(message)
    nodes = (
        DeviceNode("/dev/null", "c", 1, 3, 0o666),
        DeviceNode("/dev/fuse", "c", 10, 229, 0o666),
        DeviceNode("/dev/sda", "b", 8, 0, 0o660, 0, 6),
    )
    facts = replace(
        FACTS,
        namespaces=PodNamespaces(),
        host_devices=nodes,
        apparmor=AppArmorFacts(frozenset({"berth-default"}), "berth-default"),
        cgroup=replace(FACTS.cgroup, mount_options=("nsdelegate", "memory_recursiveprot")),
    )
    return found, resolved(found, facts)


def user_namespace() -> Case:
    """Own ids, an idmapped volume, the host's network."""
    message = config()
    message.mounts.add(container_path="/data", host_path="/kubelet/data")
    for mappings in (message.mounts[0].uidMappings, message.mounts[0].gidMappings):
        mappings.add(container_id=0, host_id=1 << 20, length=65536)
    options = message.linux.security_context.namespace_options
    options.network = cri.NODE
    options.userns_options.mode = cri.POD
    for mappings in (options.userns_options.uids, options.userns_options.gids):
        mappings.add(container_id=0, host_id=1 << 20, length=65536)
    found = spec(message)
    return found, resolved(found)


def cgroup_v1() -> Case:
    """The same limits on cgroup v1, an own oom floor, a terminal, a shared PID namespace."""
    message = config()
    message.tty = True
    message.linux.security_context.namespace_options.pid = cri.POD
    message.linux.security_context.readonly_rootfs = True
    message.linux.security_context.no_new_privs = True
    found = spec(
        message,
        resources=LinuxResources(
            cpu_shares=2,
            memory_limit=1 << 27,
            oom_score_adj=-998,
            cpuset_cpus="0-1",
            hugepages=(("2MB", 0), ("1GB", 0)),
            unified={"memory.oom.group": "1", "pids.max": "100"},
        ),
    )
    limits = (Rlimit("RLIMIT_NOFILE", 1 << 20, 1 << 20),)
    own = {"RLIMIT_NOFILE": 4096}
    facts = replace(FACTS, cgroup=V1, oom_floor=0, rlimits=limits, own_rlimits=own)
    return found, resolved(found, replace(facts, raise_rlimits=False))


def volumes() -> Case:
    """Every kind of mount, given in the wrong order."""
    message = config()
    add = message.mounts.add
    add(container_path="/a/b/c", host_path="/v/deep")
    add(container_path="/a", host_path="/v/shared", propagation=cri.PROPAGATION_BIDIRECTIONAL)
    add(container_path="/s", host_path="/v/s", propagation=cri.PROPAGATION_HOST_TO_CONTAINER)
    add(container_path="/r", host_path="/v/r", readonly=True, recursive_read_only=True)
    add(container_path="/o", host_path="/v/o", mount_options=["noexec", "nosuid"])
    add(container_path="/i", image=cri.ImageSpec(image="data:1"), readonly=True)
    add(container_path="/dev", host_path="/dev")
    found = spec(message)
    return found, resolved(found)


def devices() -> Case:
    """A device by CRI and others by CDI; a user who is not root; labels of SELinux."""
    message = config()
    message.devices.add(container_path="/dev/kvm", host_path="/dev/fuse", permissions="rw")
    message.linux.security_context.selinux_options.level = "s0:c1,c2"
    found = spec(message)
    edits = Edits(
        env=("GPU=0",),
        devices=(CdiDevice("/dev/gpu0", permissions="rw"), CdiDevice("/dev/ctl", "", "c", 195, 9)),
        mounts=(CdiMount("/usr/lib/libgpu.so", "/usr/lib/libgpu.so", ("ro", "nosuid")),),
        hooks=(CdiHook("createContainer", "/usr/bin/hook", ("hook", "ldcache"), (), 5),),
        additional_gids=(44,),
        net_devices=(CdiNetDevice("ib0", "eth1"),),
    )
    facts = replace(
        FACTS,
        user=ProcessUser(1000, 1000, (1000,)),
        cdi=edits,
        cdi_nodes={"/dev/gpu0": DeviceNode("/dev/gpu0", "c", 195, 0, 0o666)},
        selinux=SELinuxFacts("system_u:system_r:container_t:s0", "system_u:object_r:file_t:s0"),
    )
    return found, resolved(found, facts)


CASES = {case.__name__: case for case in (
    ordinary, privileged, user_namespace, cgroup_v1, volumes, devices,
)}  # fmt: skip


def text_of(name: str) -> str:
    found, facts = CASES[name]()
    return json.dumps(compose(found, facts), indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_document_is_as_it_was(name: str) -> None:
    assert text_of(name) == (GOLDEN / f"{name}.json").read_text()


def test_no_file_without_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    for name in CASES:
        (GOLDEN / f"{name}.json").write_text(text_of(name))
