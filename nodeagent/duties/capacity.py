"""What the host has, by resource, in base units; overridden and sliced by the configuration."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from berth.base.quantity import Vector, minus

HUGEPAGES = Path("/sys/kernel/mm/hugepages")
MEMINFO = Path("/proc/meminfo")


def host_capacity(meminfo: Path = MEMINFO, hugepages: Path = HUGEPAGES) -> dict[str, int]:
    """Processors in thousandths, memory without reserved huge pages, and those by size.

    kubelet reckons the same way: reserved huge pages count in MemTotal, and no pod can use them as
    ordinary memory.
    """
    large = _hugepages(hugepages)
    memory = _total_memory(meminfo.read_text("ascii")) - sum(large.values())
    return {"cpu": 1000 * (os.cpu_count() or 1), "memory": memory, **large}


def _total_memory(meminfo: str) -> int:
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) << 10
    raise ValueError("MemTotal is missing")


def _hugepages(directory: Path) -> dict[str, int]:
    """Bytes of reserved huge pages as Kubernetes names them; sizes without pages are left out.

    The kernel names them in kB (hugepages-2048kB), a pod's resources in quantities (hugepages-2Mi).
    """
    found = {}
    for path in sorted(directory.glob("hugepages-*kB")):
        kib = int(path.name.removeprefix("hugepages-").removesuffix("kB"))
        size = f"{kib >> 20}Gi" if kib >> 20 else f"{kib >> 10}Mi" if kib >> 10 else f"{kib}Ki"
        if pages := int((path / "nr_hugepages").read_text("ascii")):
            found[f"hugepages-{size}"] = pages * kib << 10
    return found


def group_capacities(
    groups: Sequence[str], whole: Vector, overrides: Vector, slices: Mapping[str, Vector]
) -> dict[str, dict[str, int]]:
    """The capacity of every group of the plan: slices as configured, the first has the rest."""
    # An override of 0 takes a resource out, which is not the same as having none of it: what the
    # node does not have at all is not asked for, accounted or shown.
    left = {name: amount for name, amount in {**whole, **overrides}.items() if amount}
    result = {name: dict(slices.get(name, {})) for name in groups[1:]}
    for taken in result.values():
        left = minus(left, taken)
    return {groups[0]: left, **result} if groups else {}
