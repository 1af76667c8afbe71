"""Rules between a container and its pod: namespaces and privileges, then limits.

Limits that the pod's cgroups rule out are refused here, by name, before the kernel would: its
EINVAL comes from the OCI runtime after a container is half made, and names a file.
"""

import dataclasses
from collections.abc import Iterator, Mapping

from berth.base.errors import InvalidArgument, Unimplemented
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.files import read_text
from cri_shim.model.container import ContainerSpec
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.resources import LinuxResources
from cri_shim.model.sandbox import Sandbox
from cri_shim.runtime.handler import Handler, Kind

WHERE = "config.linux.security_context"

LEAST_MEMORY: Mapping[Kind, int] = {"crun": 512 << 10, "runc": 3 << 20}
"""Bytes that the OCI runtime's own first process needs to start the container's."""

PERIOD = 100_000
"""Microseconds of a CPU period that nobody set."""


def in_pod(spec: ContainerSpec, sandbox: Sandbox, handler: Handler) -> ContainerSpec:
    """The spec with the pod's network, IPC and user namespaces: those are never another's.

    Refuses what does not fit this pod, before anything is made.
    """
    _check(spec, sandbox, handler)
    theirs = sandbox.spec.security.namespaces
    namespaces = dataclasses.replace(
        spec.security.namespaces, network=theirs.network, ipc=theirs.ipc, user=theirs.user
    )
    return dataclasses.replace(
        spec, security=dataclasses.replace(spec.security, namespaces=namespaces)
    )


def _check(spec: ContainerSpec, sandbox: Sandbox, handler: Handler) -> None:
    """POD means what the pod has, be it the host's; NODE in a pod with its own is refused."""
    pod = sandbox.spec.security
    if spec.security.privileged and not pod.privileged:
        raise InvalidArgument(
            f"{WHERE}.privileged: the pod is not privileged, so no container of it can be"
        )
    # kubelet sends the pod's modes with each container; another client may send something else.
    own, theirs = spec.security.namespaces, pod.namespaces
    for name in ("network", "ipc"):
        mine, pods = getattr(own, name), getattr(theirs, name)
        if mine is not pods and mine is not NamespaceMode.POD:
            raise InvalidArgument(
                f"{WHERE}.namespace_options.{name} is {mine.name}, the pod's is {pods.name}: "
                "use POD"
            )
    if own.user is not None and own.user != theirs.user:
        raise InvalidArgument(f"{WHERE}.namespace_options.userns_options differ from the pod's")
    if own.pid is NamespaceMode.POD and theirs.pid is not NamespaceMode.POD:
        raise InvalidArgument(
            f"{WHERE}.namespace_options.pid is POD, but the pod has {theirs.pid.name}"
        )
    if own.pid is NamespaceMode.TARGET and not own.target_id:
        raise InvalidArgument(f"{WHERE}.namespace_options.target_id is empty: name a container")
    # kubelet looks for this word in the error (KEP-3857).
    if any(m.recursive_readonly for m in spec.mounts) and not handler.features.recursive_readonly:
        raise Unimplemented(
            f"RROUnsupported: handler {handler.name!r} ({handler.binary}) cannot mount read-only "
            "recursively"
        )


def check_least_memory(wanted: LinuxResources, kind: Kind, where: str) -> None:
    """Raise InvalidArgument for so little memory that the container cannot be made in it."""
    least = LEAST_MEMORY[kind]
    if 0 < wanted.memory_limit < least:
        raise InvalidArgument(
            f"{where}.memory_limit_in_bytes {wanted.memory_limit} is below {least}, which {kind} "
            "needs to start a container"
        )


def check_limits(cgroups: Cgroups, wanted: LinuxResources, parent: str, where: str) -> None:
    """Raise InvalidArgument for a limit that the group `parent` and those above it rule out.

    `parent` need not exist yet: the nearest one above that does counts.
    """
    # A cpuset outside the parent's is an error on v1, and cut down in silence on v2.
    for field, name in (("cpuset_cpus", "cpuset.cpus"), ("cpuset_mems", "cpuset.mems")):
        _check_set(cgroups, getattr(wanted, field), parent, name, f"{where}.{field}")
    if cgroups.layout != "v2" and wanted.cpu_quota > 0:
        _check_quota(cgroups, wanted, parent, where)


def _upwards(path: str) -> Iterator[str]:
    """The group and those above it, the root last."""
    parts = [part for part in path.split("/") if part]
    for length in range(len(parts), -1, -1):
        yield "/" + "/".join(parts[:length])


def _check_set(cgroups: Cgroups, wanted: str, parent: str, name: str, where: str) -> None:
    if not wanted:
        return
    shown = _present_set(cgroups, parent, name)
    allowed = set(_numbers(shown))
    top = max(allowed, default=0)
    ranges = [_range(part) for part in wanted.split(",")]
    outside = any(high > top for _, high in ranges) or any(
        number not in allowed for low, high in ranges for number in range(low, high + 1)
    )
    if allowed and outside:
        raise InvalidArgument(f"{where} {wanted!r}: the pod may use {shown} of this host")


def _present_set(cgroups: Cgroups, parent: str, name: str) -> str:
    """What the nearest group with a set of its own has; empty where the host has no cpusets."""
    # On v2 a group that sets none has an empty file, and uses what the one above it has.
    files = (name, f"{name}.effective") if cgroups.layout == "v2" else (name,)
    for group in _upwards(parent):
        for file in files:
            path = cgroups.file("cpuset", group, file)
            if path and (text := (read_text(path) or "").strip()):
                return text
    return ""


def _numbers(text: str) -> Iterator[int]:
    for part in text.split(",") if text else []:
        low, high = _range(part)
        yield from range(low, high + 1)


def _range(part: str) -> tuple[int, int]:
    low, _, high = part.partition("-")
    return int(low), int(high or low)


def _check_quota(cgroups: Cgroups, wanted: LinuxResources, parent: str, where: str) -> None:
    """cgroup v1 refuses a share of CPU above that of any group above; v2 lets the lower win."""
    mine = _ratio(wanted.cpu_quota, wanted.cpu_period or PERIOD)
    for group in _upwards(parent):
        above = cgroups.cpu(group)
        if above.quota is not None and mine > _ratio(above.quota, above.period or PERIOD):
            raise InvalidArgument(
                f"{where}.cpu_quota {wanted.cpu_quota} of {wanted.cpu_period or PERIOD} us is more "
                f"than the {above.quota} of {above.period} us that cgroup {group} has: raise the "
                "pod's first"
            )


def _ratio(quota: int, period: int) -> int:
    """As the kernel rounds it (kernel/sched/core.c, to_ratio)."""
    return (quota << 20) // period
