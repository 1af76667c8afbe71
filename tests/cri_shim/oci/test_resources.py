"""Limits on cgroup v1 and v2, updates, and security labels."""

from dataclasses import replace
from typing import Any

import pytest

from berth.base.errors import FailedPrecondition, InvalidArgument, Unimplemented
from cri_shim.model.resources import LinuxResources
from cri_shim.model.security import ContainerSecurity, Profile, ProfileKind, SELinuxLabel
from cri_shim.oci.facts import AppArmorFacts, CgroupFacts, Json, SELinuxFacts
from cri_shim.oci.labels import apparmor_profile, mount_label, process_label
from cri_shim.oci.resources import merged, resources, resources_update
from tests.cri_shim.oci.oci_inputs import FACTS, V1, V2

GIB = 1 << 30


def _resources(cgroup: CgroupFacts = V2, **fields: Any) -> Json:
    return resources(LinuxResources(**fields), cgroup)


@pytest.mark.parametrize("cgroup", [V1, V2])
def test_nothing_given_is_nothing_said(cgroup: CgroupFacts) -> None:
    assert _resources(cgroup) == {}


@pytest.mark.parametrize("cgroup", [V1, V2])
def test_cpu(cgroup: CgroupFacts) -> None:
    found = _resources(cgroup, cpu_shares=2, cpu_quota=-1, cpuset_cpus="0-1", cpuset_mems="0")
    assert found == {"cpu": {"shares": 2, "cpus": "0-1", "mems": "0"}}
    assert resources_update(LinuxResources(cpu_quota=-1), cgroup) == {"cpu": {"quota": -1}}


@pytest.mark.parametrize(
    ("limit", "swap", "accounted", "expected"),
    [
        (GIB, 0, True, {"limit": GIB, "swap": GIB}),
        (GIB, 2 * GIB, True, {"limit": GIB, "swap": 2 * GIB}),
        (GIB, 2 * GIB, False, {"limit": GIB}),
        (GIB, -1, True, {"limit": GIB, "swap": -1}),
        (-1, 0, True, {"limit": -1, "swap": -1}),
        (0, -1, True, {"swap": -1}),
    ],
)
def test_memory_and_swap(limit: int, swap: int, accounted: bool, expected: Json) -> None:
    found = _resources(replace(V1, swap=accounted), memory_limit=limit, swap_limit=swap)
    assert found == {"memory": expected}


@pytest.mark.parametrize("limit", [0, -1, 2 * GIB])
def test_swap_against_memory(limit: int) -> None:
    with pytest.raises(InvalidArgument, match="memory_swap_limit_in_bytes is"):
        _resources(memory_limit=limit, swap_limit=GIB)


def test_unified_wins() -> None:
    unified = {"memory.max": "1", "memory.swap.max": "0", "cpu.weight": "7", "cpu.max": "max"}
    found = _resources(
        memory_limit=GIB, cpu_shares=2, cpu_quota=1000, cpuset_cpus="0", unified=unified
    )
    assert found == {"cpu": {"cpus": "0"}, "unified": unified}


def test_unified_on_v1() -> None:
    harmless = {"memory.oom.group": "1", "memory.low": "0", "pids.max": "9"}
    assert _resources(V1, unified=harmless) == {"pids": {"limit": 9}}
    with pytest.raises(InvalidArgument, match=r"memory\.high.*cgroup v1"):
        _resources(V1, unified={"memory.high": "1"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cgroup.procs", "1"), ("cgroup.kill", "1"), ("memory", "1"), ("memory.max", "1\n2"),
        ("memory.max", "\0"), ("pids.max", "-1"), ("pids.max", "x"), ("pids.max", "9" * 30),
    ],
)  # fmt: skip
def test_unified_that_is_no_limit(key: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=key.replace(".", r"\.")):
        _resources(unified={key: value})


def test_pids() -> None:
    assert _resources(unified={"pids.max": "max"}) == {"pids": {"limit": -1}}
    none = replace(V2, controllers=frozenset({"memory"}))
    assert _resources(none, unified={"pids.max": "5"}) == {}


def test_hugepages() -> None:
    pages = (("2MB", 0), ("1GB", GIB), ("64KB", 0))
    assert _resources(hugepages=pages)["hugepageLimits"] == [
        {"pageSize": "2MB", "limit": 0},
        {"pageSize": "1GB", "limit": GIB},
    ]
    assert _resources(replace(V2, controllers=frozenset()), hugepages=pages) == {}
    with pytest.raises(InvalidArgument, match="no pages of 64KB, but of 1GB, 2MB"):
        _resources(hugepages=(("64KB", 1),))
    with pytest.raises(InvalidArgument, match="'2M' is not a page size"):
        _resources(hugepages=(("2M", 1),))


def test_a_limit_without_its_controller() -> None:
    none = replace(V2, controllers=frozenset({"cpu"}))
    with pytest.raises(FailedPrecondition, match="no memory cgroup controller"):
        _resources(none, memory_limit=GIB)
    with pytest.raises(FailedPrecondition, match="no cpuset cgroup controller"):
        _resources(none, cpuset_cpus="0")


def test_updates_are_merged_and_complete() -> None:
    now = LinuxResources(
        cpu_shares=2, memory_limit=GIB, swap_limit=3 * GIB, unified={"memory.low": "0"}
    )
    then = merged(now, LinuxResources(memory_limit=2 * GIB, unified={"memory.high": "max"}))
    assert then.swap_limit == 4 * GIB
    assert then.cpu_shares == 2
    assert dict(then.unified) == {"memory.low": "0", "memory.high": "max"}
    assert resources_update(then, V2)["memory"] == {"limit": 2 * GIB, "swap": 4 * GIB}
    assert merged(now, LinuxResources()) == now
    assert merged(LinuxResources(), now) == now
    pages = merged(LinuxResources(hugepages=(("2MB", 0),)), LinuxResources(hugepages=(("2MB", 5),)))
    assert pages.hugepages == (("2MB", 5),)


def _security(kind: ProfileKind | None = None, ref: str = "", **fields: Any) -> ContainerSecurity:
    profile = None if kind is None else Profile(kind, ref)
    return ContainerSecurity(apparmor=profile, **fields)


ARMED = replace(FACTS, apparmor=AppArmorFacts(frozenset({"berth", "mine"}), "berth"))


@pytest.mark.parametrize(
    ("security", "expected"),
    [
        (_security(), "berth"),
        (_security(ProfileKind.RUNTIME_DEFAULT), "berth"),
        (_security(ProfileKind.LOCALHOST, "mine"), "mine"),
        (_security(ProfileKind.UNCONFINED), "unconfined"),
        (_security(privileged=True), ""),
        (_security(ProfileKind.LOCALHOST, "mine", privileged=True), "mine"),
    ],
)
def test_apparmor(security: ContainerSecurity, expected: str) -> None:
    assert apparmor_profile(security, ARMED) == expected


def test_apparmor_that_is_not_there() -> None:
    assert apparmor_profile(_security(ProfileKind.RUNTIME_DEFAULT), FACTS) == ""
    assert apparmor_profile(_security(ProfileKind.UNCONFINED), FACTS) == ""
    with pytest.raises(Unimplemented, match="this host has no AppArmor"):
        apparmor_profile(_security(ProfileKind.LOCALHOST, "mine"), FACTS)
    with pytest.raises(FailedPrecondition, match="'other' is not loaded"):
        apparmor_profile(_security(ProfileKind.LOCALHOST, "other"), ARMED)


LABELLED = replace(FACTS, selinux=SELinuxFacts("u:r:t:s0:c1,c2", "u:object_r:f:s0:c1,c2"))


def test_selinux_labels() -> None:
    wanted = ContainerSecurity(selinux=SELinuxLabel(type="spc_t", level="s0:c3,c4"))
    assert process_label(wanted, LABELLED) == "u:r:spc_t:s0:c3,c4"
    assert mount_label(wanted, LABELLED) == "u:object_r:f:s0:c3,c4"
    assert process_label(ContainerSecurity(), LABELLED) == "u:r:t:s0:c1,c2"
    assert process_label(wanted, FACTS) == ""
    assert mount_label(replace(wanted, privileged=True), LABELLED) == ""


@pytest.mark.parametrize("level", ["s0", "s0-s3", "s0:c1", "s0:c1.c5,c9", "s0-s15:c0.c1023"])
def test_selinux_levels(level: str) -> None:
    label = process_label(ContainerSecurity(selinux=SELinuxLabel(level=level)), LABELLED)
    assert label == f"u:r:t:{level}"


@pytest.mark.parametrize(
    "label",
    [SELinuxLabel(level="x"), SELinuxLabel(level="s0:c1,,c2"), SELinuxLabel(type="a:b"),
     SELinuxLabel(user="a b"), SELinuxLabel(role="\n")],
)  # fmt: skip
def test_selinux_labels_that_are_none(label: SELinuxLabel) -> None:
    with pytest.raises(InvalidArgument, match="selinux_options"):
        process_label(ContainerSecurity(selinux=label), FACTS)
