"""Mounts: order, overriding, propagation, flags; and what devices and namespaces say."""

from dataclasses import replace
from typing import Any

import pytest

from berth.base.errors import FailedPrecondition, InvalidArgument, Unimplemented
from berth.cdi.edits import CdiDevice, CdiMount, CdiNetDevice, Edits
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import MountSpec, Propagation
from cri_shim.model.namespaces import IdMapping
from cri_shim.oci.devices import net_devices, nodes, rules
from cri_shim.oci.document import compose
from cri_shim.oci.facts import (
    NEW,
    DeviceNode,
    Facts,
    Json,
    PodNamespaces,
    ResolvedDevice,
    ResolvedMount,
    RuntimeFeatures,
)
from cri_shim.oci.mounts import mounts, rootfs_propagation
from cri_shim.oci.namespaces import namespaces
from tests.cri_shim.oci.oci_inputs import FACTS, V1, V2, config, resolved, spec


def _mounts(*found: ResolvedMount, facts: Facts = FACTS, **changes: Any) -> dict[str, Json]:
    wanted = spec(mounts=tuple(m.spec for m in found))
    made = mounts(wanted, replace(facts, mounts=found, **changes))
    return {mount["destination"]: mount for mount in made}


def _mount(place: str, flags: frozenset[str] = frozenset(), **fields: Any) -> ResolvedMount:
    return ResolvedMount(MountSpec(place, "/v", **fields), "/v", flags, "shared")


def test_shallow_before_deep() -> None:
    found = list(_mounts(_mount("/a/b/c"), _mount("/z"), _mount("/a/b"), _mount("/sys/fs/bpf")))
    own = [place for place in found if place in ("/a/b/c", "/z", "/a/b", "/sys/fs/bpf")]
    assert own == ["/z", "/a/b", "/a/b/c", "/sys/fs/bpf"]
    assert found.index("/sys/fs/bpf") > found.index("/sys/fs/cgroup")


def test_the_container_path_is_cleaned() -> None:
    assert "/a/c" in _mounts(_mount("a//b/../c/"))
    with pytest.raises(InvalidArgument, match="is the root itself"):
        _mounts(_mount("/.."))


@pytest.mark.parametrize("root", ["/dev", "/sys", "/proc"])
def test_who_mounts_over_a_kernel_filesystem_takes_it_whole(root: str) -> None:
    found = _mounts(_mount(root))
    assert found[root]["type"] == "bind"
    assert not [place for place in found if place.startswith(root + "/")]


def test_pod_files_stand_back() -> None:
    found = _mounts(_mount("/etc/resolv.conf"), _mount("/dev/shm"))
    assert found["/etc/resolv.conf"]["source"] == "/v"
    assert found["/etc/hostname"]["source"] == "/pod/hostname"
    assert found["/dev/shm"]["source"] == "/v"


def test_no_shm_of_the_pod() -> None:
    found = _mounts(files=replace(FACTS.files, shm=""))
    assert found["/dev/shm"]["type"] == "tmpfs"


@pytest.mark.parametrize(
    ("fields", "flags", "options"),
    [
        ({}, {"nosuid"}, ["rbind", "rprivate", "rw"]),
        ({"readonly": True}, {"nosuid", "nodev"}, ["rbind", "rprivate", "ro", "nosuid", "nodev"]),
        ({"options": ("noexec",)}, {"ro"}, ["rbind", "rprivate", "ro", "noexec"]),
        ({"options": ("noexec",)}, (), ["rbind", "rprivate", "rw", "noexec"]),
        ({"readonly": True, "recursive_readonly": True}, (), ["rbind", "rprivate", "rro"]),
    ],
)
def test_flags_of_the_source_are_kept(fields: Any, flags: Any, options: list[str]) -> None:
    assert _mounts(_mount("/a", frozenset(flags), **fields))["/a"]["options"] == options


@pytest.mark.parametrize(
    ("wanted", "have", "fine"),
    [
        (Propagation.PRIVATE, "private", True),
        (Propagation.HOST_TO_CONTAINER, "private", False),
        (Propagation.HOST_TO_CONTAINER, "slave", True),
        (Propagation.BIDIRECTIONAL, "slave", False),
        (Propagation.BIDIRECTIONAL, "shared", True),
    ],
)
def test_propagation_needs_the_source_to_share(wanted: Propagation, have: str, fine: bool) -> None:
    mount = replace(_mount("/a", propagation=wanted), propagation=have)
    if fine:
        assert "/a" in _mounts(mount)
        return
    with pytest.raises(InvalidArgument, match="make-rshared"):
        _mounts(mount)


def test_rootfs_propagation_is_the_widest() -> None:
    slave = MountSpec("/a", "/v", propagation=Propagation.HOST_TO_CONTAINER)
    shared = MountSpec("/b", "/v", propagation=Propagation.BIDIRECTIONAL)
    assert rootfs_propagation(spec()) == ""
    assert rootfs_propagation(spec(mounts=(slave,))) == "rslave"
    assert rootfs_propagation(spec(mounts=(shared, slave))) == "rshared"


def test_what_the_runtime_lacks_is_said() -> None:
    none = replace(FACTS, features=RuntimeFeatures())
    with pytest.raises(Unimplemented, match=r"^RROUnsupported: mount /a"):
        _mounts(_mount("/a", readonly=True, recursive_readonly=True), facts=none)
    with pytest.raises(Unimplemented, match="no idmapped mounts"):
        _mounts(_mount("/a", uids=(IdMapping(0, 1, 1),)), facts=none)
    with pytest.raises(Unimplemented, match="network devices"):
        net_devices(replace(none, cdi=Edits(net_devices=(CdiNetDevice("a", "b"),))))


def test_cdi_mounts_stand_over_those_of_the_spec() -> None:
    edits = Edits(mounts=(CdiMount("/x", "/a"), CdiMount("/y", "/t", ("mode=1",), "tmpfs")))
    found = _mounts(_mount("/a"), cdi=edits)
    assert found["/a"]["source"] == "/x"
    assert found["/a"]["options"] == ["rbind"]
    assert found["/t"] == {
        "destination": "/t", "type": "tmpfs", "source": "/y", "options": ["mode=1"],
    }  # fmt: skip


def test_cgroup_mount() -> None:
    writable = replace(V2, writable=True)
    assert "ro" in _mounts()["/sys/fs/cgroup"]["options"]
    assert "rw" in _mounts(cgroup=writable)["/sys/fs/cgroup"]["options"]
    assert "ro" in _mounts(cgroup=replace(V1, writable=True))["/sys/fs/cgroup"]["options"]


def _kinds(message: cri.ContainerConfig, facts: Facts = FACTS) -> dict[str, str]:
    return {n["type"]: n.get("path", NEW) for n in namespaces(spec(message), facts)}


def test_namespaces_of_an_ordinary_container() -> None:
    expected = {"mount": NEW, "pid": NEW, "network": "/ns/net", "ipc": "/ns/ipc"}
    assert _kinds(config()) == {**expected, "uts": "/ns/uts", "cgroup": NEW}
    assert "cgroup" not in _kinds(config(), replace(FACTS, cgroup=V1))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(cri.CONTAINER, NEW), (cri.POD, "/ns/pid"), (cri.TARGET, "/ns/pid"), (cri.NODE, None)],
)
def test_pid_namespace(mode: int, expected: str | None) -> None:
    message = config()
    message.linux.security_context.namespace_options.pid = mode  # type: ignore[assignment]  # enum
    assert _kinds(message).get("pid") == expected


def test_a_namespace_that_the_pod_does_not_have() -> None:
    with pytest.raises(FailedPrecondition, match="pod's network namespace"):
        _kinds(config(), replace(FACTS, namespaces=PodNamespaces()))


def test_hostname_only_in_a_new_uts_namespace() -> None:
    found = spec()
    assert "hostname" not in compose(found, resolved(found))
    own = replace(FACTS, namespaces=replace(FACTS.namespaces, uts=NEW))
    assert compose(found, resolved(found, own))["hostname"] == "web-0"


def test_what_was_not_resolved() -> None:
    message = config()
    message.mounts.add(container_path="/a", host_path="/b")
    with pytest.raises(FailedPrecondition, match="mounts of the container were"):
        compose(spec(message), FACTS)


def test_a_directory_of_devices() -> None:
    message = config()
    message.devices.add(host_path="/dev/snd", container_path="/dev/sound", permissions="r")
    found = spec(message)
    below = (DeviceNode("/dev/snd/seq", "c", 116, 1), DeviceNode("/dev/snd/by/pcm", "c", 116, 2))
    facts = replace(FACTS, devices=(ResolvedDevice(found.devices[0], below),))
    assert [n["path"] for n in nodes(found, facts)] == ["/dev/sound/seq", "/dev/sound/by/pcm"]
    assert {"allow": True, "type": "c", "major": 116, "minor": 2, "access": "r"} in rules(
        found, facts
    )


def test_no_device_there() -> None:
    message = config()
    message.devices.add(host_path="/dev/none", container_path="/dev/none")
    found = spec(message)
    with pytest.raises(InvalidArgument, match="/dev/none is no device node"):
        nodes(found, replace(FACTS, devices=(ResolvedDevice(found.devices[0], ()),)))


def test_devices_of_cdi() -> None:
    edits = Edits(devices=(CdiDevice("/dev/a", "/dev/b", "b"),))
    assert edits.unknown == ("/dev/b",)
    with pytest.raises(InvalidArgument, match="/dev/b is not a device node"):
        nodes(spec(), replace(FACTS, cdi=edits))
    with pytest.raises(InvalidArgument, match="is of type c on this host, not b"):
        nodes(spec(), replace(FACTS, cdi=edits, cdi_nodes={"/dev/b": DeviceNode("/dev/b", "c")}))
