"""A close look at one container: everything that the cAdvisor-shaped series show."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.cgroups.readings import Cpu, DeviceIo, HugePages, Memory, Pids, Pressure
from berth.linux.files import read_text
from cri_shim.stats.usage import LayerUsage

NO_LIMIT = float("inf")


@dataclass(frozen=True, slots=True)
class Filesystem:
    """The filesystem a writable layer lies on, and the layer's part of it; sizes in bytes."""

    device: str
    limit: int
    inodes_total: int
    inodes_free: int
    used: int


@dataclass(frozen=True, slots=True)
class Processes:
    """Open descriptors and sockets over all processes; the first one's soft limits by name."""

    count: int = 0
    descriptors: int = 0
    sockets: int = 0
    soft_limits: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Detail:
    """`swap_limit` as cAdvisor has it: swap alone on v2, memory plus swap on v1; None: none."""

    at: int
    cpu: Cpu
    memory: Memory
    swap_limit: int | None
    pids: Pids
    processes: Processes
    oom_kills: int
    started_at: int
    pressure: Pressure | None = None
    hugetlb: tuple[HugePages, ...] = ()
    io: tuple[tuple[str, DeviceIo], ...] = ()
    filesystem: Filesystem | None = None


def read_detail(
    cgroups: Cgroups, path: str, started_at: int, layer: LayerUsage | None = None
) -> Detail | None:
    """Look at the group at `path`; None where it is gone. Blocks for about a millisecond.

    `started_at` in Unix nanoseconds.
    """
    if not cgroups.exists(path):
        return None
    memory = cgroups.memory(path)
    return Detail(
        at=time.time_ns(),
        cpu=cgroups.cpu(path),
        memory=memory,
        swap_limit=_swap_limit(memory, cgroups.layout == "v2"),
        pids=cgroups.pids(path),
        processes=read_processes(cgroups.processes(path)),
        oom_kills=cgroups.oom_kills(path),
        started_at=started_at,
        pressure=cgroups.pressure(path),
        hugetlb=cgroups.hugetlb(path),
        io=tuple((device_name(io.major, io.minor), io) for io in cgroups.io(path)),
        filesystem=None if layer is None else read_filesystem(layer),
    )


def _swap_limit(memory: Memory, v2: bool) -> int | None:
    # v1 limits memory and swap together (memory.memsw), and cAdvisor shows that number there.
    if memory.swap_limit is None or v2:
        return memory.swap_limit
    return memory.swap_limit + (memory.limit or 0)


def read_filesystem(layer: LayerUsage) -> Filesystem | None:
    """The filesystem of a layer; None where its mount point is gone."""
    # Of the daemon's own root, so no dead server can be behind it.
    try:
        stat = os.statvfs(layer.mountpoint)
        number = os.stat(layer.mountpoint).st_dev
    except OSError:
        return None
    return Filesystem(
        device=device_name(os.major(number), os.minor(number)),
        limit=stat.f_blocks * stat.f_frsize,
        inodes_total=stat.f_files,
        inodes_free=stat.f_ffree,
        used=layer.used,
    )


def device_name(major: int, minor: int) -> str:
    """`/dev/sda` and the like; the two numbers where the device has no such name."""
    try:
        target = os.readlink(f"/sys/dev/block/{major}:{minor}")
    except OSError:
        return f"{major}:{minor}"
    return "/dev/" + target.rpartition("/")[2]


def read_processes(pids: Iterable[int]) -> Processes:
    """What the processes hold open; those that end meanwhile are left out."""
    # Of other users' processes too: the daemon is root. Each may end between two lines here.
    alive = list(pids)
    descriptors = sockets = 0
    for pid in alive:
        found = _descriptors(f"/proc/{pid}/fd")
        descriptors += len(found)
        sockets += sum(1 for target in found if target.startswith("socket:"))
    return Processes(len(alive), descriptors, sockets, _soft_limits(alive))


def _descriptors(directory: str) -> list[str]:
    # A process with 100,000 descriptors makes this slow: it runs in a thread, and only for metrics.
    found = []
    try:
        for name in os.listdir(directory):
            try:
                found.append(os.readlink(f"{directory}/{name}"))
            except FileNotFoundError:
                continue
    except OSError:  # ended, or a kernel thread
        return []
    return found


def _soft_limits(pids: list[int]) -> tuple[tuple[str, float], ...]:
    """The limit that cAdvisor shows: open files of the container's first process."""
    text = read_text(Path(f"/proc/{pids[0]}/limits")) if pids else None
    for line in (text or "").splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3]
            return (("max_open_files", NO_LIMIT if soft == "unlimited" else float(soft)),)
    return ()
