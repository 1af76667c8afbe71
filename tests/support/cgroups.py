"""Limits as tests write them down."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Wanted:
    """`Resources` of the cgroup code; what is not named stays as it is."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit: int = 0
    swap_limit: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    hugepages: tuple[tuple[str, int], ...] = ()
    unified: dict[str, str] = field(default_factory=dict)
