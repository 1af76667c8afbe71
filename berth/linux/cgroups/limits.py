"""Limits as a list of writes (pure), and the writing of such a list, all or nothing."""

import contextlib
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from berth.linux.cgroups.hierarchy import Resources
from berth.linux.files import read_bytes, write_once


@dataclass(frozen=True, slots=True)
class Write:
    """One value for one file. `optional`: the host may lack the file."""

    controller: str
    file: str
    value: str
    optional: bool = False


def v1_writes(wanted: Resources, memsw_now: int) -> list[Write]:
    """Writes for cgroup v1; `memsw_now` is the present memory.memsw.limit_in_bytes.

    ValueError for a raw key of v2 and for a swap limit below the memory limit.
    """
    writes: list[Write] = []
    for key, value in wanted.unified.items():
        if key != "pids.max":  # the one file of these that both versions have
            raise ValueError(f"unified key {key} needs cgroup v2; this host has v1")
        writes.append(Write("pids", key, value))
    if wanted.cpu_shares:
        # The kernel raises less than 2 to 2 silently; so written and read values are the same.
        writes.append(Write("cpu", "cpu.shares", str(max(2, wanted.cpu_shares))))
    if wanted.cpu_period:
        writes.append(Write("cpu", "cpu.cfs_period_us", str(wanted.cpu_period)))
    if wanted.cpu_quota:
        writes.append(Write("cpu", "cpu.cfs_quota_us", str(wanted.cpu_quota)))
    writes += _memory_v1(wanted, memsw_now)
    writes += _cpuset(wanted)
    for size, limit in wanted.hugepages:
        writes.append(Write("hugetlb", f"hugetlb.{size}.limit_in_bytes", str(limit), True))
    return writes


def _memory_v1(wanted: Resources, memsw_now: int) -> list[Write]:
    _check_swap(wanted)
    writes = []
    if wanted.memory_limit:
        writes.append(Write("memory", "memory.limit_in_bytes", str(wanted.memory_limit)))
    if wanted.swap_limit:
        both = Write("memory", "memory.memsw.limit_in_bytes", str(wanted.swap_limit), True)
        # The kernel keeps memory ≤ memory plus swap after every single write (else EINVAL): the
        # upper bound moves first when it goes up, and last when it goes down.
        raised = wanted.swap_limit < 0 or wanted.swap_limit > memsw_now
        writes.insert(0 if raised else len(writes), both)
    return writes


def _check_swap(wanted: Resources) -> None:
    if 0 < wanted.swap_limit < wanted.memory_limit:
        raise ValueError(
            f"memory plus swap limit {wanted.swap_limit} is below the memory limit "
            f"{wanted.memory_limit}"
        )


def v2_writes(wanted: Resources, memory_now: int, quota_now: str) -> list[Write]:
    """Writes for cgroup v2; `memory_now` is memory.max (0: none), `quota_now` that of cpu.max.

    ValueError for a swap limit that needs a memory limit, or lies below it.
    """
    writes: list[Write] = []
    if wanted.cpu_shares:
        writes.append(Write("cpu", "cpu.weight", str(weight(wanted.cpu_shares))))
    if wanted.cpu_quota or wanted.cpu_period:
        # One file has both, and takes no period alone: the present quota is written with it.
        quota = "max" if wanted.cpu_quota < 0 else str(wanted.cpu_quota or quota_now)
        period = f" {wanted.cpu_period}" if wanted.cpu_period else ""
        writes.append(Write("cpu", "cpu.max", quota + period))
    if wanted.memory_limit:
        writes.append(Write("memory", "memory.max", _limit(wanted.memory_limit)))
    if wanted.swap_limit:
        writes.append(_swap_v2(wanted, memory_now))
    writes += _cpuset(wanted)
    for size, limit in wanted.hugepages:
        writes.append(Write("hugetlb", f"hugetlb.{size}.max", str(limit), True))
    # Raw keys come last, so that they win: kubelet sends memory.high and memory.min this way.
    for key, value in wanted.unified.items():
        writes.append(Write(key.partition(".")[0], key, value))
    return writes


def _limit(value: int) -> str:
    return "max" if value < 0 else str(value)


def _swap_v2(wanted: Resources, memory_now: int) -> Write:
    """v2 limits swap alone; CRI's field, made for v1, counts memory with it."""
    _check_swap(wanted)
    if wanted.swap_limit < 0:
        return Write("memory", "memory.swap.max", "max", True)
    memory = wanted.memory_limit or memory_now
    if memory <= 0 or memory > wanted.swap_limit:
        raise ValueError(
            f"memory plus swap limit {wanted.swap_limit} needs a memory limit no greater than it"
        )
    return Write("memory", "memory.swap.max", str(wanted.swap_limit - memory), True)


def _cpuset(wanted: Resources) -> list[Write]:
    given = (("cpuset.cpus", wanted.cpuset_cpus), ("cpuset.mems", wanted.cpuset_mems))
    return [Write("cpuset", name, value) for name, value in given if value]


def weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144), linearly (KEP-2254).

    runc 1.3.2 and crun 1.23 changed to a curve on which 1024 shares are about the default weight
    100, where this gives 39 (opencontainers/runc#4772, containers/crun#1767).
    """
    bounded = min(max(shares, 2), 262_144)
    return 1 + (bounded - 2) * 9999 // 262_142


def execute(writes: Sequence[Write], locate: Callable[[Write], str]) -> None:
    """Write the list; at an error write the old values back and raise it, naming file and value.

    `locate` returns the path of a write's file, "" where the host has not its controller. After
    a kill -9 in the middle some values are new and some old; kubelet sends the whole again.
    """
    with contextlib.ExitStack() as undo:
        for write in writes:
            path = locate(write)
            old = read_bytes(path) if path else None
            if old is None and write.optional:
                continue
            if not path:
                raise OSError(
                    errno.ENOENT, f"this host has no {write.controller} controller", write.file
                )
            undo.callback(_restore, path, old)
            _write(path, write)
        undo.pop_all()


def _write(path: str, write: Write) -> None:
    try:
        write_once(path, write.value.encode())
    except OSError as error:
        raise OSError(error.errno, f"cannot set to {write.value!r}: {error.strerror}", path) from (
            None
        )


def _restore(path: str, old: bytes | None) -> None:
    if old is not None:
        with contextlib.suppress(OSError):
            write_once(path, old.strip())


def refuse_below(limit: int, used: int, path: str) -> None:
    """Raise EBUSY, as v1 does, where a memory limit is below the present use."""
    if 0 < limit < used:
        raise OSError(
            errno.EBUSY, f"memory limit {limit} is below the present use of {used} bytes", path
        )
