"""Limits of a container or pod, as CRI gives them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri

EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LinuxResources:
    """Zero or empty means: not given. Memory and swap in bytes, periods in microseconds.

    `swap_limit` is memory plus swap, as on cgroup v1. `unified` holds raw cgroup v2 keys; they win.
    """

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit: int = 0
    swap_limit: int = 0
    oom_score_adj: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    hugepages: tuple[tuple[str, int], ...] = ()
    unified: Mapping[str, str] = field(default_factory=lambda: EMPTY)

    @classmethod
    def from_cri(cls, message: cri.LinuxContainerResources, where: str) -> "LinuxResources":
        """Check ranges; InvalidArgument names the field below `where`."""
        _check_ranges(message, where)
        # Keys become names of files in the container's cgroup: none may lead out of it.
        for key in message.unified:
            if not key or "/" in key or ".." in key:
                raise InvalidArgument(
                    f"{where}.unified key {key!r} is not the name of a cgroup v2 file"
                )
        return cls(
            cpu_period=message.cpu_period,
            cpu_quota=message.cpu_quota,
            cpu_shares=message.cpu_shares,
            memory_limit=message.memory_limit_in_bytes,
            swap_limit=message.memory_swap_limit_in_bytes,
            oom_score_adj=message.oom_score_adj,
            cpuset_cpus=check_cpu_list(message.cpuset_cpus, f"{where}.cpuset_cpus"),
            cpuset_mems=check_cpu_list(message.cpuset_mems, f"{where}.cpuset_mems"),
            hugepages=tuple((h.page_size, h.limit) for h in message.hugepage_limits),
            unified=MappingProxyType(dict(message.unified)),
        )

    def to_cri(self) -> cri.LinuxContainerResources:
        return cri.LinuxContainerResources(
            cpu_period=self.cpu_period,
            cpu_quota=self.cpu_quota,
            cpu_shares=self.cpu_shares,
            memory_limit_in_bytes=self.memory_limit,
            memory_swap_limit_in_bytes=self.swap_limit,
            oom_score_adj=self.oom_score_adj,
            cpuset_cpus=self.cpuset_cpus,
            cpuset_mems=self.cpuset_mems,
            hugepage_limits=[
                cri.HugepageLimit(page_size=size, limit=limit) for size, limit in self.hugepages
            ],
            unified=dict(self.unified),
        )


def _check_ranges(message: cri.LinuxContainerResources, where: str) -> None:
    # The kernel's own limits. It would say EINVAL in the middle of a create, and name a file.
    ranges = {
        "cpu_period": (0, 1_000_000),
        "cpu_quota": (-1, 2**44 - 1),  # kernel/sched/core.c, MAX_BW
        "cpu_shares": (0, 262_144),
        "memory_limit_in_bytes": (-1, 2**62),
        "memory_swap_limit_in_bytes": (-1, 2**62),
        "oom_score_adj": (-1000, 1000),
    }
    for name, (low, high) in ranges.items():
        value = getattr(message, name)
        if not low <= value <= high:
            raise InvalidArgument(f"{where}.{name} is {value}: it must lie in {low} to {high}")
    # min_cfs_quota_period, 1 ms; 0 leaves the default and -1 is no quota.
    for name in ("cpu_period", "cpu_quota"):
        value = getattr(message, name)
        if 0 < value < 1000:
            raise InvalidArgument(f"{where}.{name} is {value}: the least is 1000 us")


def check_cpu_list(text: str, where: str) -> str:
    """Check a kernel list such as `0-3,8`; return it unchanged."""
    for part in text.split(",") if text else []:
        low, _, high = part.partition("-")
        numbers = [low, high] if "-" in part else [low]
        if not all(n.isascii() and n.isdigit() and len(n) < 8 for n in numbers):
            raise InvalidArgument(f"{where} {text!r} is not a list such as 0-3,8")
        if len(numbers) == 2 and int(low) > int(high):
            raise InvalidArgument(f"{where} {text!r} has a range that runs backwards")
    return text
