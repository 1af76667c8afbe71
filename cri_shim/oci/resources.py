"""Limits of the container's cgroup, for `runtime create` and `runtime update`.

runtime-spec config-linux.md, "Control groups": "Memory", "CPU", "Huge page limits", "PIDs",
"Unified". Values are in cgroup v1's terms, as CRI's are; the OCI runtime translates them for v2
(shares to weight, memory plus swap to swap alone).

Zero and empty mean "not given" in CRI and are left out. Raw cgroup v2 keys win over the fields
that say the same.
"""

import re
from dataclasses import replace
from types import MappingProxyType

from berth.base.errors import FailedPrecondition, InvalidArgument
from cri_shim.model.resources import LinuxResources
from cri_shim.oci.facts import CgroupFacts, Json, Layout

_PAGE_SIZE = re.compile(r"[1-9]\d{0,9}[KMG]B\Z")
_HARMLESS_ON_V1 = frozenset({"memory.oom.group", "memory.min", "memory.low"})
"""Protections and a kill policy: without them no limit is weaker than was asked for."""

_REPLACES: dict[str, tuple[tuple[str, str], ...]] = {
    "cpu.max": (("cpu", "quota"), ("cpu", "period")),
    "cpu.weight": (("cpu", "shares"),),
    "cpuset.cpus": (("cpu", "cpus"),),
    "cpuset.mems": (("cpu", "mems"),),
    "memory.max": (("memory", "limit"), ("memory", "swap")),
    "memory.swap.max": (("memory", "swap"),),
}
_ALLOWED_CORE_KEYS = frozenset({"cgroup.max.descendants", "cgroup.max.depth"})


def resources(wanted: LinuxResources, cgroup: CgroupFacts) -> Json:
    """The OCI `resources` object, without `devices`.

    Raises InvalidArgument for values that contradict each other, FailedPrecondition where the
    controller that a limit needs is missing.
    """
    # Only at create: an update needs the -1 to take a quota away.
    if wanted.cpu_quota < 0:  # a new group has no quota, and crun 1.8 cannot write -1 on v1
        wanted = replace(wanted, cpu_quota=0)
    return _resources(wanted, cgroup)


def _resources(wanted: LinuxResources, cgroup: CgroupFacts) -> Json:
    found: Json = {
        "cpu": _cpu(wanted, cgroup),
        "memory": _memory(wanted, cgroup),
        "hugepageLimits": _hugepages(wanted, cgroup),
        "pids": _pids(wanted, cgroup),
    }
    # The same file written twice, by a field and by its raw key, would leave the order to the OCI
    # runtime.
    unified = _unified(wanted, cgroup)
    for key in unified:
        for group, name in _REPLACES.get(key, ()):
            found[group].pop(name, None)
    found["unified"] = unified
    return {key: value for key, value in found.items() if value}


def resources_update(wanted: LinuxResources, cgroup: CgroupFacts) -> Json:
    """The document of `runtime update --resources -`: like `resources`, and complete.

    Give it the result of `merged`, for what is left out falls back to a default where another
    field depends on it (swap on memory).
    """
    return _resources(wanted, cgroup)


def merged(current: LinuxResources, change: LinuxResources) -> LinuxResources:
    """`current` with what `change` gives; an explicit allowance of swap moves with the memory."""
    names = (
        "cpu_period", "cpu_quota", "cpu_shares", "memory_limit", "swap_limit", "oom_score_adj",
        "cpuset_cpus", "cpuset_mems",
    )  # fmt: skip
    given = {name: getattr(change, name) for name in names if getattr(change, name)}
    # The swap limit of CRI is memory plus swap: left as it is, more memory would leave less swap,
    # and less than the memory is an error.
    if "memory_limit" in given and "swap_limit" not in given:
        given["swap_limit"] = _moved_swap(current, change.memory_limit)
    return replace(
        current,
        **given,
        hugepages=tuple({**dict(current.hugepages), **dict(change.hugepages)}.items()),
        unified=MappingProxyType({**current.unified, **change.unified}),
    )


def _moved_swap(current: LinuxResources, limit: int) -> int:
    if current.swap_limit <= 0 or current.memory_limit <= 0 or limit <= 0:
        return current.swap_limit
    return limit + current.swap_limit - current.memory_limit


def _cpu(wanted: LinuxResources, cgroup: CgroupFacts) -> Json:
    time: Json = {
        "shares": wanted.cpu_shares,
        "quota": wanted.cpu_quota,
        "period": wanted.cpu_period,
    }
    places: Json = {"cpus": wanted.cpuset_cpus, "mems": wanted.cpuset_mems}
    _need("cpu", time, cgroup)
    _need("cpuset", places, cgroup)
    return {key: value for key, value in (time | places).items() if value}


def _memory(wanted: LinuxResources, cgroup: CgroupFacts) -> Json:
    """Nothing said of swap means none, where swap is accounted at all."""
    limit, swap = wanted.memory_limit, wanted.swap_limit
    _check_swap(limit, swap)
    found: Json = {"limit": limit}
    _need("memory", found, cgroup)
    # Equal to the limit: no swap. On a kernel that does not account swap the file is missing, and
    # the OCI runtime would fail to write it.
    if cgroup.swap:
        found["swap"] = swap or limit
    return {key: value for key, value in found.items() if value}


def _check_swap(limit: int, swap: int) -> None:
    where = f"memory_swap_limit_in_bytes is {swap}"
    if swap > 0 and limit == 0:
        raise InvalidArgument(f"{where}, but no memory limit: give memory_limit_in_bytes too")
    if limit < 0 < swap:
        raise InvalidArgument(f"{where}, but memory is unlimited: leave it out or give -1")
    if 0 < swap < limit:
        raise InvalidArgument(
            f"{where}, below the memory limit {limit}: it is memory plus swap, give at least that"
        )


def _hugepages(wanted: LinuxResources, cgroup: CgroupFacts) -> list[Json]:
    """kubelet lists every size it knows, with zeros; without the controller there is no limit."""
    found = []
    for size, limit in wanted.hugepages:
        if not _PAGE_SIZE.match(size):
            raise InvalidArgument(f"hugepage_limits: {size!r} is not a page size such as 2MB")
        # The kernel would refuse the number with EINVAL, which names no field.
        if limit >= 2**63:
            raise InvalidArgument(f"hugepage_limits: {limit} is more than the kernel can count")
        if limit and cgroup.hugepage_sizes and size not in cgroup.hugepage_sizes:
            raise InvalidArgument(
                f"hugepage_limits: this host has no pages of {size}, "
                f"but of {', '.join(sorted(cgroup.hugepage_sizes))}"
            )
        if "hugetlb" in cgroup.controllers and size in cgroup.hugepage_sizes:
            found.append({"pageSize": size, "limit": limit})
    return found


def _pids(wanted: LinuxResources, cgroup: CgroupFacts) -> Json:
    value = wanted.unified.get("pids.max", "")
    if not value or "pids" not in cgroup.controllers:
        return {}
    if value == "max":
        return {"limit": -1}
    if not value.isascii() or not value.isdigit() or not 0 < int(value[:20]) < 2**62:
        raise InvalidArgument(f"unified pids.max {value!r} is neither a number nor max")
    return {"limit": int(value)}


def _unified(wanted: LinuxResources, cgroup: CgroupFacts) -> dict[str, str]:
    keys = dict(wanted.unified)
    keys.pop("pids.max", None)  # a field of its own in OCI, and there on v1 too
    for key, value in keys.items():
        _check_unified(key, value)
    if cgroup.layout is Layout.V2:
        return keys
    # Refused, not ignored: a limit that silently is none is worse than an error.
    refused = sorted(set(keys) - _HARMLESS_ON_V1)
    if refused:
        raise InvalidArgument(
            f"unified {', '.join(refused)}: this host has cgroup v1, where there is no such file"
        )
    return {}


def _check_unified(key: str, value: str) -> None:
    """`cgroup.procs` and its like move processes: they are no limits."""
    if "." not in key or "\0" in key + value or "\n" in key + value:
        raise InvalidArgument(f"unified {key!r} is not a controller's file and its value")
    if key.startswith("cgroup.") and key not in _ALLOWED_CORE_KEYS:
        raise InvalidArgument(f"unified {key} is not a limit: leave it out")


def _need(controller: str, wanted: Json, cgroup: CgroupFacts) -> None:
    if any(wanted.values()) and controller not in cgroup.controllers:
        raise FailedPrecondition(
            f"{', '.join(k for k, v in wanted.items() if v)} given, but this host has no "
            f"{controller} cgroup controller: enable it or leave the limit out"
        )
