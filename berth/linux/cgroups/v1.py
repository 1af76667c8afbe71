"""cgroup v1: one hierarchy a controller (or several mounted together), and hybrid hosts.

A group is the same path in each hierarchy, and a process must be written into each of them. A
hybrid host has a v2 hierarchy beside, without controllers; systemd and OCI runtimes make groups
there, so removal looks there too.
"""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import replace

from berth.linux.cgroups import limits, readings, tree
from berth.linux.cgroups.hierarchy import LEAVE_TIMEOUT, Layout, Resources
from berth.linux.cgroups.readings import Cpu, DeviceIo, HugePages, Memory, Pids, Pressure
from berth.linux.files import read_bytes, write_once

_HERTZ = os.sysconf("SC_CLK_TCK")
_MEMBERSHIP = ("freezer", "pids", "devices", "cpu", "memory")
"""Processes are listed by the hierarchy of the first of these that the host has.

freezer comes first: `kill` freezes there, and must freeze exactly what it then signals.
"""
_HUGE = re.compile(r"hugetlb\.(\w+)\.usage_in_bytes\Z")


class CgroupsV1:
    """See `hierarchy.Cgroups`.

    `roots` maps each controller, and `name=systemd` and the like, to its mount; `unified` is the
    mount of the v2 hierarchy of a hybrid host.
    """

    def __init__(self, roots: Mapping[str, str], unified: str | None = None) -> None:
        self._roots = dict(roots)
        self._unified = unified
        # Controllers mounted together (cpu,cpuacct) are one hierarchy: one directory, made once.
        self._hierarchies = list(dict.fromkeys(roots.values()))
        self.layout: Layout = "v1" if unified is None else "hybrid"
        self.controllers = frozenset(name for name in roots if not name.startswith("name="))
        self._members = next(
            (roots[name] for name in _MEMBERSHIP if name in roots), self._hierarchies[0]
        )

    def file(self, controller: str, path: str, name: str) -> str:
        root = self._roots.get(controller)
        return "" if root is None else f"{tree.directory(root, path)}/{name}"

    def _read(self, controller: str, path: str, name: str) -> bytes | None:
        where = self.file(controller, path, name)
        return read_bytes(where) if where else None

    def exists(self, path: str) -> bool:
        return os.path.isdir(tree.directory(self._members, path))

    def create(self, path: str) -> None:
        tree.directory("", path)
        with contextlib.ExitStack() as undo:
            for root in self._hierarchies:
                for step in tree.steps(root, path):
                    if tree.make(step):
                        undo.callback(tree.remove, step, 0.0)
                    # Also where it existed: a kill -9 between the two would leave it empty.
                    if root == self._roots.get("cpuset"):
                        _inherit_cpuset(step)
            undo.pop_all()

    def remove(self, path: str, timeout: float = LEAVE_TIMEOUT) -> None:
        tree.refuse_root(path)
        deadline = time.monotonic() + timeout
        # One deadline for all: the processes leave every hierarchy at about the same time.
        for root in [*self._hierarchies, *([self._unified] if self._unified else [])]:
            tree.remove(tree.directory(root, path), deadline)

    def processes(self, path: str) -> list[int]:
        return tree.processes(tree.directory(self._members, path))

    def kill(self, path: str, timeout: float = LEAVE_TIMEOUT) -> None:
        tree.kill(path, timeout, self.processes, self._strike)

    def _strike(self, path: str) -> None:
        """Freeze, so that nobody forks away; signal all; thaw, so that they die.

        v1 has no cgroup.kill, and a fork between the listing and the signal would survive. A
        frozen process takes SIGKILL only once it is thawed (v2 differs there). Groups below are
        thawed too: one that was frozen by itself (a paused container) would stay so.
        """
        root = self._roots.get("freezer")
        groups = [] if root is None else tree.subtree(tree.directory(root, path))[::-1]
        for group in groups[:1]:  # the top, which freezes all below
            _set_state(group, b"FROZEN")
        try:
            tree.kill_each(self.processes(path))
        finally:
            for group in groups:
                _set_state(group, b"THAWED")

    def apply(self, path: str, resources: Resources) -> None:
        # Missing without swap accounting (swapaccount=0): 0 then, and the write is left out.
        memsw = readings.number(self._read("memory", path, "memory.memsw.limit_in_bytes"))
        used = readings.number(self._read("memory", path, "memory.usage_in_bytes"))
        # The kernel would refuse it too (EBUSY), but after it has tried to reclaim for a while.
        limits.refuse_below(resources.memory_limit, used, path)
        limits.execute(
            limits.v1_writes(resources, memsw),
            lambda write: self.file(write.controller, path, write.file),
        )

    def cpu(self, path: str) -> Cpu:
        base = readings.cpu_v1(
            self._read("cpuacct", path, "cpuacct.usage"),
            self._read("cpu", path, "cpu.stat"),
            self._read("cpuacct", path, "cpuacct.stat"),
            _HERTZ,
        )
        quota = readings.number(self._read("cpu", path, "cpu.cfs_quota_us"))
        return replace(
            base,
            shares=readings.number(self._read("cpu", path, "cpu.shares")),
            quota=quota if quota > 0 else None,  # -1 means none
            period=readings.number(self._read("cpu", path, "cpu.cfs_period_us")),
        )

    def memory(self, path: str) -> Memory:
        def read(name: str) -> bytes | None:
            return self._read("memory", path, name)

        base = readings.memory_v1(read("memory.usage_in_bytes"), read("memory.stat"))
        return replace(
            base,
            kernel=readings.number(read("memory.kmem.usage_in_bytes")),  # not in memory.stat
            max_usage=readings.number(read("memory.max_usage_in_bytes")),
            failures=readings.number(read("memory.failcnt")),
            reservation=readings.limit(read("memory.soft_limit_in_bytes")),
        )

    def pids(self, path: str) -> Pids:
        return Pids(
            readings.number(self._read("pids", path, "pids.current")),
            readings.limit(self._read("pids", path, "pids.max")),
        )

    def oom_kills(self, path: str) -> int:
        return readings.flat(self._read("memory", path, "memory.oom_control")).get(b"oom_kill", 0)

    def pressure_files(self, path: str) -> tuple[str, str, str] | None:
        """The v2 side of a hybrid host has them, for groups that the OCI runtime made there."""
        if self._unified is None:
            return None
        group = tree.directory(self._unified, path)
        return f"{group}/cpu.pressure", f"{group}/memory.pressure", f"{group}/io.pressure"

    def pressure(self, path: str) -> Pressure | None:
        files = self.pressure_files(path)
        return None if files is None else readings.pressure([read_bytes(name) for name in files])

    def hugetlb(self, path: str) -> tuple[HugePages, ...]:
        sizes = tree.page_sizes(self.file("hugetlb", path, ""), _HUGE)
        return tuple(
            HugePages(
                size,
                readings.number(self._read("hugetlb", path, f"hugetlb.{size}.usage_in_bytes")),
                readings.number(self._read("hugetlb", path, f"hugetlb.{size}.max_usage_in_bytes")),
                readings.limit(self._read("hugetlb", path, f"hugetlb.{size}.limit_in_bytes")),
            )
            for size in sizes
        )

    def io(self, path: str) -> tuple[DeviceIo, ...]:
        return readings.io_v1(
            self._read("blkio", path, "blkio.throttle.io_service_bytes_recursive"),
            self._read("blkio", path, "blkio.throttle.io_serviced_recursive"),
        )


def _inherit_cpuset(group: str) -> None:
    """Give a new cpuset its parent's CPUs and memory nodes.

    The kernel makes it without any (cgroup.clone_children is off by default), and a write to its
    cgroup.procs fails with ENOSPC until it has both.
    """
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (read_bytes(f"{group}/{name}") or b"").strip():
            parent = group.rpartition("/")[0]
            write_once(f"{group}/{name}", (read_bytes(f"{parent}/{name}") or b"").strip())


def _set_state(group: str, state: bytes) -> None:
    """Freeze or thaw; a group that is gone needs neither."""
    with contextlib.suppress(OSError):
        write_once(f"{group}/freezer.state", state)
