"""Rules between a container and its pod."""

from dataclasses import replace
from pathlib import Path

import pytest

from berth.base.errors import InvalidArgument, Unimplemented
from berth.linux.cgroups.v1 import CgroupsV1
from berth.linux.cgroups.v2 import CgroupsV2
from cri_shim.container.checks import check_least_memory, check_limits, in_pod
from cri_shim.model.container import ContainerSpec, MountSpec
from cri_shim.model.namespaces import NamespaceMode, NamespaceOptions
from cri_shim.model.resources import LinuxResources
from cri_shim.model.security import ContainerSecurity
from tests.support.context import Host

SPEC = ContainerSpec("c", 0, "image")


def asking(**options: object) -> ContainerSpec:
    namespaces = NamespaceOptions(**options)  # type: ignore[arg-type]  # the cases say which
    return replace(SPEC, security=ContainerSecurity(namespaces=namespaces))


def test_network_and_ipc_are_the_pods(host: Host) -> None:
    pod = host.pod()
    shared = replace(pod.spec.security.namespaces, network=NamespaceMode.NODE)
    pod = replace(
        pod, spec=replace(pod.spec, security=replace(pod.spec.security, namespaces=shared))
    )
    spec = asking(pid=NamespaceMode.CONTAINER)
    found = in_pod(spec, pod, host.runtime.handler).security.namespaces
    assert (found.network, found.ipc) == (NamespaceMode.NODE, NamespaceMode.POD)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"network": NamespaceMode.NODE}, "network is NODE, the pod's is POD"),
        ({"ipc": NamespaceMode.NODE}, "ipc is NODE, the pod's is POD"),
        ({"pid": NamespaceMode.POD}, "pid is POD, but the pod has CONTAINER"),
        ({"pid": NamespaceMode.TARGET}, "target_id is empty"),
    ],
)
def test_what_the_pod_has_not_is_refused(host: Host, options: object, text: str) -> None:
    assert isinstance(options, dict)
    spec = asking(**{"pid": NamespaceMode.CONTAINER, **options})
    with pytest.raises(InvalidArgument, match=text):
        in_pod(spec, host.pod(), host.runtime.handler)


def test_no_privileged_container_in_another_pod(host: Host) -> None:
    spec = replace(SPEC, security=ContainerSecurity(privileged=True))
    with pytest.raises(InvalidArgument, match="the pod is not privileged"):
        in_pod(spec, host.pod(), host.runtime.handler)


def test_recursive_readonly_needs_a_handler_that_can(host: Host) -> None:
    mount = MountSpec("/a", "/b", readonly=True, recursive_readonly=True)
    spec = replace(asking(pid=NamespaceMode.CONTAINER), mounts=(mount,))
    with pytest.raises(Unimplemented, match="RROUnsupported"):
        in_pod(spec, host.pod(), host.runtime.handler)


@pytest.mark.parametrize(("kind", "least"), [("runc", 3 << 20), ("crun", 512 << 10)])
def test_the_least_memory(kind: str, least: int) -> None:
    for limit in (0, least):
        check_least_memory(LinuxResources(memory_limit=limit), kind, "x")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=rf"x\.memory_limit_in_bytes {least - 1}"):
        check_least_memory(
            LinuxResources(memory_limit=least - 1),
            kind,  # type: ignore[arg-type]  # a Kind
            "x",
        )


def test_a_cpuset_within_that_of_the_nearest_group(tmp_path: Path) -> None:
    """The pod's own group does not exist yet: the one above counts."""
    (tmp_path / "kubepods").mkdir()
    (tmp_path / "kubepods" / "cpuset.cpus").write_text("0-3,8\n")
    cgroups = CgroupsV2(str(tmp_path))
    for good in ("", "0", "1-3", "8"):
        check_limits(cgroups, LinuxResources(cpuset_cpus=good), "/kubepods/pod", "x")
    for bad in ("4", "3-8", "9"):
        with pytest.raises(InvalidArgument, match=r"x\.cpuset_cpus .* the pod may use 0-3,8"):
            check_limits(cgroups, LinuxResources(cpuset_cpus=bad), "/kubepods/pod", "x")


def test_a_share_of_cpu_above_that_of_a_group_above(tmp_path: Path) -> None:
    """cgroup v1 alone: on v2 the lower of the two wins."""
    for name, quota in (("", -1), ("pod", 50_000)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / name / "cpu.cfs_period_us").write_text("100000\n")
    old = CgroupsV1({"cpu": str(tmp_path)})
    check_limits(old, LinuxResources(cpu_quota=50_000), "/pod", "x")
    check_limits(old, LinuxResources(cpu_quota=5_000, cpu_period=10_000), "/pod", "x")
    with pytest.raises(InvalidArgument, match=r"x\.cpu_quota 60000 .* the 50000 of 100000"):
        check_limits(old, LinuxResources(cpu_quota=60_000), "/pod", "x")
    check_limits(CgroupsV2(str(tmp_path)), LinuxResources(cpu_quota=60_000), "/pod", "x")
