"""The one interface over cgroup v1, hybrid and v2.

What differs, and how it is levelled here:

                        v1                                   v2
    hierarchies         one a controller                     one
    processes           in any group                         in groups without groups below only
    CPU weight          shares, 2 to 262144                  weight, 1 to 10000; given as shares
    swap limit          memory plus swap                     swap alone; given as the sum
    limit below use     EBUSY                                kills; EBUSY here
    kill                freeze, signal each, thaw            cgroup.kill
    times               nanoseconds, clock ticks             microseconds; given in nanoseconds
    memory limit        of this group and those above        of this group
    pressure, peaks     none of pressure                     none of huge pages
"""

from collections.abc import Mapping
from typing import Literal, Protocol

from berth.linux.cgroups.readings import Cpu, DeviceIo, HugePages, Memory, Pids, Pressure

Layout = Literal["v1", "v2", "hybrid"]
LEAVE_TIMEOUT = 2.0
"""Seconds that `remove` and `kill` wait for processes to leave."""


class Resources(Protocol):
    """Limits to apply; zero or empty means: leave as it is, -1: unlimited (as CRI has it).

    Memory and swap in bytes (`swap_limit` is memory plus swap, as on v1), times in microseconds.
    `unified` has raw cgroup v2 files and values; they win.
    """

    @property
    def cpu_period(self) -> int: ...
    @property
    def cpu_quota(self) -> int: ...
    @property
    def cpu_shares(self) -> int: ...
    @property
    def memory_limit(self) -> int: ...
    @property
    def swap_limit(self) -> int: ...
    @property
    def cpuset_cpus(self) -> str: ...
    @property
    def cpuset_mems(self) -> str: ...
    @property
    def hugepages(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def unified(self) -> Mapping[str, str]: ...


class Cgroups(Protocol):
    """The control groups of this host. Paths start with `/` and are relative to the roots.

    Readings of a group that is gone are zeros; `exists` tells. All calls block: most for some
    microseconds, `remove` and `kill` up to their timeout (call those on a thread).
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def controllers(self) -> frozenset[str]: ...

    def file(self, controller: str, path: str, name: str) -> str:
        """The path of a file of the group; "" where the host has not this controller."""

    def exists(self, path: str) -> bool: ...

    def create(self, path: str) -> None:
        """Make the group and its parents, ready for processes; one that exists is fine.

        On an error the directories made are removed again.
        """

    def remove(self, path: str, timeout: float = LEAVE_TIMEOUT) -> None:
        """Remove the group and all below it; missing is fine.

        OSError (EBUSY) names the group that was not empty at the timeout, and the processes inside.
        """

    def processes(self, path: str) -> list[int]:
        """Processes in the group and below."""

    def kill(self, path: str, timeout: float = LEAVE_TIMEOUT) -> None:
        """Kill every process in the group and below, also those forked meanwhile.

        TimeoutError names the processes that did not die: in state D no signal is taken.
        PermissionError where the caller itself is inside.
        """

    def apply(self, path: str, resources: Resources) -> None:
        """Set limits, all or none: what was written before an error is written back.

        A memory limit below the present use is refused with EBUSY: v1 says so itself, but v2
        would kill processes until the rest fits.
        """

    def cpu(self, path: str) -> Cpu: ...

    def memory(self, path: str) -> Memory: ...

    def pids(self, path: str) -> Pids: ...

    def oom_kills(self, path: str) -> int:
        """How many processes the kernel killed for want of memory in this group."""

    def pressure(self, path: str) -> Pressure | None:
        """Stall times; None where the kernel keeps none for groups (v1, or booted with psi=0)."""

    def pressure_files(self, path: str) -> tuple[str, str, str] | None:
        """The files of the stall times of CPU, memory and disk; None where no group has any."""

    def hugetlb(self, path: str) -> tuple[HugePages, ...]: ...

    def io(self, path: str) -> tuple[DeviceIo, ...]: ...
