"""The cAdvisor-shaped series of a container: names, labels, and how values come from a `Detail`.

Names, labels and units are those of cAdvisor, which dashboards and alerts know. The eight series
of networks belong to pods: see `metrics`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from berth.linux.cgroups.readings import Pressure, Stalls
from cri_shim.stats.detail import Detail

BASE = ("id", "name", "image", "namespace", "pod", "container")
"""`id` is the path of the control group and `name` the id of the container, as cAdvisor has it."""
_S = 1_000_000_000


class Kind(Enum):
    """Numbers of CRI's MetricType."""

    COUNTER = 0
    GAUGE = 1


@dataclass(frozen=True, slots=True)
class Descriptor:
    name: str
    help: str
    labels: tuple[str, ...]


Value = tuple[tuple[str, ...], float]
"""Values of the labels beyond `BASE`, and the number."""


@dataclass(frozen=True, slots=True)
class Series:
    """A name with how its values come from a container's detail."""

    name: str
    help: str
    kind: Kind
    values: Callable[[Detail], Iterable[Value]]
    extra: tuple[str, ...] = ()

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.name, self.help, BASE + self.extra)


def _one(read: Callable[[Detail], float | None]) -> Callable[[Detail], Iterable[Value]]:
    """A series of one value without further labels; None gives no value."""

    def values(detail: Detail) -> Iterable[Value]:
        value = read(detail)
        return () if value is None else (((), value),)

    return values


def _gauge(name: str, help: str, read: Callable[[Detail], float | None]) -> Series:
    return Series(name, help, Kind.GAUGE, _one(read))


def _counter(name: str, help: str, read: Callable[[Detail], float | None]) -> Series:
    return Series(name, help, Kind.COUNTER, _one(read))


def _stall(read: Callable[[Pressure], Stalls], full: bool) -> Callable[[Detail], float | None]:
    def seconds(detail: Detail) -> float | None:
        if detail.pressure is None:
            return None
        stalls = read(detail.pressure)
        return (stalls.full if full else stalls.some).total / _S

    return seconds


def _pressure() -> Iterator[Series]:
    reads: tuple[tuple[str, str, Callable[[Pressure], Stalls]], ...] = (
        ("cpu", "CPU time", lambda p: p.cpu),
        ("memory", "memory", lambda p: p.memory),
        ("io", "disk", lambda p: p.io),
    )
    for name, what, read in reads:
        base = f"container_pressure_{name}"
        yield _counter(
            f"{base}_stalled_seconds_total",
            f"Seconds in which no task could go on for want of {what}.",
            _stall(read, full=True),
        )
        yield _counter(
            f"{base}_waiting_seconds_total",
            f"Seconds in which some task waited for {what}.",
            _stall(read, full=False),
        )


def _failures(detail: Detail) -> Iterator[Value]:
    memory = detail.memory
    for kind, count in (("pgfault", memory.faults), ("pgmajfault", memory.major_faults)):
        # cAdvisor tells a cgroup from it with those below; a container has none below that count.
        for scope in ("container", "hierarchy"):
            yield (kind, scope), count


def _blkio(detail: Detail) -> Iterator[Value]:
    for device, io in detail.io:
        where = (device, str(io.major), str(io.minor))
        yield (*where, "Read"), io.read_bytes
        yield (*where, "Write"), io.write_bytes


def _io(name: str, help: str, field: str) -> Series:
    def values(detail: Detail) -> Iterator[Value]:
        for device, io in detail.io:
            yield (device,), getattr(io, field)

    return Series(name, help, Kind.COUNTER, values, ("device",))


def _fs(name: str, help: str, field: str) -> Series:
    def values(detail: Detail) -> Iterator[Value]:
        if detail.filesystem is not None:
            yield (detail.filesystem.device,), getattr(detail.filesystem, field)

    return Series(name, help, Kind.GAUGE, values, ("device",))


def _pages(name: str, help: str, field: str) -> Series:
    def values(detail: Detail) -> Iterator[Value]:
        for pages in detail.hugetlb:
            yield (pages.size,), getattr(pages, field)

    return Series(name, help, Kind.GAUGE, values, ("pagesize",))


# In the order of their names, which is that of a page of cAdvisor's: a diff of the two is short.
CONTAINER_SERIES: tuple[Series, ...] = (
    Series(
        "container_blkio_device_usage_total",
        "Bytes moved to and from block devices.",
        Kind.COUNTER,
        _blkio,
        ("device", "major", "minor", "operation"),
    ),
    _counter(
        "container_cpu_cfs_periods_total",
        "Periods of the CPU quota that have passed.",
        lambda d: d.cpu.periods,
    ),
    _counter(
        "container_cpu_cfs_throttled_periods_total",
        "Periods in which the CPU quota held the container back.",
        lambda d: d.cpu.throttled_periods,
    ),
    _counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Seconds for which the CPU quota held the container back.",
        lambda d: d.cpu.throttled / _S,
    ),
    _counter(
        "container_cpu_system_seconds_total",
        "CPU seconds used in the kernel.",
        lambda d: d.cpu.system / _S,
    ),
    Series(
        "container_cpu_usage_seconds_total",
        "CPU seconds used.",
        Kind.COUNTER,
        # By CPU in cAdvisor on v1; v2 has the total alone, and dashboards sum over the label.
        lambda d: ((("total",), d.cpu.usage / _S),),
        ("cpu",),
    ),
    _counter(
        "container_cpu_user_seconds_total",
        "CPU seconds used outside of the kernel.",
        lambda d: d.cpu.user / _S,
    ),
    _gauge(
        "container_file_descriptors",
        "Open file descriptors of all processes.",
        lambda d: d.processes.descriptors,
    ),
    _fs("container_fs_inodes_free", "Free inodes of the filesystem.", "inodes_free"),
    _fs("container_fs_inodes_total", "Inodes of the filesystem.", "inodes_total"),
    _fs("container_fs_limit_bytes", "Size of the filesystem in bytes.", "limit"),
    _fs("container_fs_usage_bytes", "Bytes that the writable layer uses.", "used"),
    _io("container_fs_reads_bytes_total", "Bytes read from the device.", "read_bytes"),
    _io("container_fs_reads_total", "Reads done on the device.", "reads"),
    _io("container_fs_writes_bytes_total", "Bytes written to the device.", "write_bytes"),
    _io("container_fs_writes_total", "Writes done on the device.", "writes"),
    _pages("container_hugetlb_max_usage_bytes", "Most huge page bytes ever used.", "max_usage"),
    _pages("container_hugetlb_usage_bytes", "Huge page bytes in use.", "usage"),
    _gauge(
        "container_last_seen", "When the container was last seen, Unix time.", lambda d: d.at / _S
    ),
    _gauge("container_memory_cache", "Bytes of page cache.", lambda d: d.memory.cache),
    _counter(
        "container_memory_failcnt",
        "How often memory use met its limit.",
        lambda d: d.memory.failures,
    ),
    Series(
        "container_memory_failures_total",
        "Page faults, and those among them that went to disk.",
        Kind.COUNTER,
        _failures,
        ("failure_type", "scope"),
    ),
    _gauge(
        "container_memory_kernel_usage",
        "Bytes of kernel memory.",
        lambda d: d.memory.kernel,
    ),
    _gauge(
        "container_memory_mapped_file",
        "Bytes of mapped files.",
        lambda d: d.memory.mapped_file,
    ),
    _gauge(
        "container_memory_max_usage_bytes",
        "Most memory bytes ever used.",
        lambda d: d.memory.max_usage,
    ),
    _gauge("container_memory_rss", "Bytes of anonymous memory.", lambda d: d.memory.rss),
    _gauge("container_memory_swap", "Bytes swapped out.", lambda d: d.memory.swap),
    _gauge(
        "container_memory_usage_bytes",
        "Memory bytes in use, page cache and all.",
        lambda d: d.memory.usage,
    ),
    _gauge(
        "container_memory_working_set_bytes",
        "Memory bytes in use less inactive page cache.",
        lambda d: d.memory.working_set,
    ),
    _counter(
        "container_oom_events_total",
        "Processes killed for want of memory.",
        lambda d: d.oom_kills,
    ),
    *_pressure(),
    _gauge("container_processes", "Processes that run.", lambda d: d.processes.count),
    _gauge("container_sockets", "Open sockets of all processes.", lambda d: d.processes.sockets),
    _gauge(
        "container_spec_cpu_period",
        "Period of the CPU quota in microseconds.",
        lambda d: d.cpu.period,
    ),
    _gauge(
        "container_spec_cpu_quota",
        "CPU quota in microseconds a period; absent without one.",
        lambda d: d.cpu.quota,
    ),
    _gauge("container_spec_cpu_shares", "CPU shares.", lambda d: d.cpu.shares),
    _gauge(
        "container_spec_memory_limit_bytes",
        "Memory limit in bytes, 0 without one.",
        lambda d: d.memory.limit or 0,
    ),
    _gauge(
        "container_spec_memory_reservation_limit_bytes",
        "Memory kept for the container in bytes, 0 if none.",
        lambda d: d.memory.reservation or 0,
    ),
    _gauge(
        "container_spec_memory_swap_limit_bytes",
        "Swap limit in bytes, 0 without one; memory counts in it on cgroup v1.",
        lambda d: d.swap_limit or 0,
    ),
    _gauge(
        "container_start_time_seconds",
        "When the container started, Unix time.",
        lambda d: d.started_at / _S,
    ),
    _gauge("container_threads", "Threads that run.", lambda d: d.pids.current),
    _gauge(
        "container_threads_max",
        "Most threads allowed, 0 without a limit.",
        lambda d: d.pids.limit or 0,
    ),
    Series(
        "container_ulimits_soft",
        "Soft limits of the first process.",
        Kind.GAUGE,
        lambda d: (((name,), value) for name, value in d.processes.soft_limits),
        ("ulimit",),
    ),
)
