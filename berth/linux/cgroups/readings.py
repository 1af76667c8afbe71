"""What a control group's files say, as values; parsing is pure.

Memory and disk in bytes, times in nanoseconds since the group was made. A limit of None means:
none set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

UNLIMITED = 1 << 60
"""From here on a number means "no limit": v1 writes 2**63 - 1 rounded down to a page."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """`throttled` in nanoseconds; `periods` and `throttled_periods` of the bandwidth limit.

    `quota` and `period` in microseconds; quota None means no limit.
    """

    usage: int = 0
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0
    shares: int = 0
    quota: int | None = None
    period: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """All with the groups below. `working_set` is usage less inactive file pages, as kubelet counts
    for eviction: what the kernel could drop at once is not held against a pod.

    `swap` is the part that was swapped out; `swap_limit` counts swap alone, as on cgroup v2.
    """

    usage: int = 0
    working_set: int = 0
    rss: int = 0
    cache: int = 0
    mapped_file: int = 0
    kernel: int = 0
    faults: int = 0
    major_faults: int = 0
    swap: int = 0
    max_usage: int = 0
    failures: int = 0
    limit: int | None = None
    swap_limit: int | None = None
    reservation: int | None = None

    @property
    def available(self) -> int | None:
        """What is left under the limit; None without one."""
        return None if self.limit is None else max(0, self.limit - self.working_set)


@dataclass(frozen=True, slots=True)
class Pids:
    """Tasks (threads) in the group and below."""

    current: int = 0
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """One line of pressure: shares of time in percent, `total` in nanoseconds."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Stalls:
    """Pressure on one resource: some task waited, all tasks waited."""

    some: Stall = Stall()
    full: Stall = Stall()


@dataclass(frozen=True, slots=True)
class Pressure:
    cpu: Stalls = Stalls()
    memory: Stalls = Stalls()
    io: Stalls = Stalls()


@dataclass(frozen=True, slots=True)
class HugePages:
    """Huge pages of one size (`2MB`), in bytes."""

    size: str
    usage: int
    max_usage: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class DeviceIo:
    """Traffic with one block device."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0


def number(data: bytes | None) -> int:
    """A file of one number; 0 where it is missing, empty, or says `max`."""
    text = (data or b"").strip()
    # cpu.cfs_quota_us is -1 where there is no quota.
    return int(text) if text.lstrip(b"-").isdigit() else 0


def limit(data: bytes | None) -> int | None:
    """A file of one limit; None for `max`, -1, v1's huge numbers, or a missing file."""
    # isdigit refuses -1 and `max` at once.
    text = (data or b"").strip()
    if not text.isdigit():
        return None
    value = int(text)
    return None if value >= UNLIMITED else value


def flat(data: bytes | None) -> dict[bytes, int]:
    """Lines of `key number` (memory.stat, cpu.stat, memory.events), in any order."""
    fields = (data or b"").split()
    return dict(zip(fields[::2], map(int, fields[1::2]), strict=False))


def memory_v1(usage: bytes | None, stat: bytes | None) -> Memory:
    """From memory.usage_in_bytes and memory.stat: what needs no further file."""
    # The first half of memory.stat counts this group without those below, under some of the same
    # keys: reading starts where the second half does.
    # hierarchical_memory_limit is the lowest of this group's and all limits above: what counts.
    values = flat((stat or b"")[max(0, (stat or b"").find(b"hierarchical_memory_limit")) :])
    used = number(usage)
    memory_limit = _below(values.get(b"hierarchical_memory_limit"))
    both = _below(values.get(b"hierarchical_memsw_limit"))
    return Memory(
        usage=used,
        working_set=max(0, used - values.get(b"total_inactive_file", 0)),
        rss=values.get(b"total_rss", 0),
        cache=values.get(b"total_cache", 0),
        mapped_file=values.get(b"total_mapped_file", 0),
        faults=values.get(b"total_pgfault", 0),
        major_faults=values.get(b"total_pgmajfault", 0),
        swap=values.get(b"total_swap", 0),
        limit=memory_limit,
        # v1 limits memory plus swap; without swap accounting the key is missing.
        swap_limit=None if both is None else max(0, both - (memory_limit or 0)),
    )


def _below(value: int | None) -> int | None:
    return None if value is None or value >= UNLIMITED else value


def memory_v2(
    current: bytes | None,
    stat: bytes | None,
    maximum: bytes | None,
    swap: bytes | None,
    swap_maximum: bytes | None,
) -> Memory:
    """From memory.current, .stat, .max, .swap.current and .swap.max."""
    values = flat(stat)
    used = number(current)
    return Memory(
        usage=used,
        working_set=max(0, used - values.get(b"inactive_file", 0)),
        rss=values.get(b"anon", 0),
        cache=values.get(b"file", 0),
        mapped_file=values.get(b"file_mapped", 0),
        kernel=values.get(b"kernel", 0),
        faults=values.get(b"pgfault", 0),
        major_faults=values.get(b"pgmajfault", 0),
        swap=number(swap),
        limit=limit(maximum),
        swap_limit=limit(swap_maximum),
    )


def cpu_v1(usage: bytes | None, stat: bytes | None, split: bytes | None, hertz: int) -> Cpu:
    """From cpuacct.usage, cpu.stat and cpuacct.stat (clock ticks)."""
    # The sum is exact and the split is not: user plus system may differ from it by a tick or two.
    values = flat(stat)
    ticks = flat(split)
    return Cpu(
        usage=number(usage),
        user=ticks.get(b"user", 0) * 1_000_000_000 // hertz,
        system=ticks.get(b"system", 0) * 1_000_000_000 // hertz,
        periods=values.get(b"nr_periods", 0),
        throttled_periods=values.get(b"nr_throttled", 0),
        throttled=values.get(b"throttled_time", 0),
    )


def cpu_v2(stat: bytes | None) -> Cpu:
    """From cpu.stat."""
    values = flat(stat)
    return Cpu(
        usage=values.get(b"usage_usec", 0) * 1000,
        user=values.get(b"user_usec", 0) * 1000,
        system=values.get(b"system_usec", 0) * 1000,
        periods=values.get(b"nr_periods", 0),
        throttled_periods=values.get(b"nr_throttled", 0),
        throttled=values.get(b"throttled_usec", 0) * 1000,
    )


def stalls(data: bytes | None) -> Stalls:
    """A pressure file; its microseconds become nanoseconds. All 0 where the kernel has none."""
    # Before Linux 5.13 cpu.pressure has no line `full`.
    lines = {line[:4]: line for line in (data or b"").splitlines()}
    return Stalls(_stall(lines.get(b"some")), _stall(lines.get(b"full")))


def pressure(files: Sequence[bytes | None]) -> Pressure | None:
    """Of the three files of CPU, memory and disk; None where all are missing."""
    cpu, memory, io = files
    if cpu is None and memory is None and io is None:
        return None
    return Pressure(stalls(cpu), stalls(memory), stalls(io))


def _stall(line: bytes | None) -> Stall:
    if line is None:
        return Stall()
    avg10, avg60, avg300, total = (field.partition(b"=")[2] for field in line.split()[1:5])
    return Stall(float(avg10), float(avg60), float(avg300), int(total) * 1000)


def io_v2(stat: bytes | None) -> tuple[DeviceIo, ...]:
    """From io.stat: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...`.

    A device that had no traffic yet may stand there without numbers; it is left out.
    """
    found = []
    for line in (stat or b"").splitlines():
        device, *fields = line.split()
        major, colon, minor = device.partition(b":")
        values = dict(field.split(b"=", 1) for field in fields if b"=" in field)
        if colon and b"rbytes" in values:
            numbers = (int(values.get(key, 0)) for key in (b"rbytes", b"wbytes", b"rios", b"wios"))
            found.append(DeviceIo(int(major), int(minor), *numbers))
    return tuple(found)


def io_v1(transferred: bytes | None, serviced: bytes | None) -> tuple[DeviceIo, ...]:
    """From blkio.throttle.io_service_bytes_recursive and .io_serviced_recursive.

    The files of the throttle policy count whatever I/O scheduler a device has.
    """
    counts: dict[bytes, dict[tuple[bytes, str], int]] = {}
    for data, kind in ((transferred, "bytes"), (serviced, "count")):
        for line in (data or b"").splitlines():
            fields = line.split()
            if len(fields) == 3:  # the last line is `Total n`
                counts.setdefault(fields[0], {})[fields[1], kind] = int(fields[2])
    return tuple(_device_v1(device, values) for device, values in counts.items())


def _device_v1(device: bytes, values: dict[tuple[bytes, str], int]) -> DeviceIo:
    major, minor = device.split(b":")
    return DeviceIo(
        int(major),
        int(minor),
        values.get((b"Read", "bytes"), 0),
        values.get((b"Write", "bytes"), 0),
        values.get((b"Read", "count"), 0),
        values.get((b"Write", "count"), 0),
    )
