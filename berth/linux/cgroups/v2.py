"""cgroup v2: one hierarchy for all controllers (kernel documentation: admin-guide/cgroup-v2)."""

import contextlib
import errno
import os
import re
import time
from dataclasses import replace

from berth.linux.cgroups import limits, readings, tree
from berth.linux.cgroups.hierarchy import LEAVE_TIMEOUT, Layout, Resources
from berth.linux.cgroups.readings import Cpu, DeviceIo, HugePages, Memory, Pids, Pressure
from berth.linux.files import read_bytes, write_once

_HUGE = re.compile(r"hugetlb\.(\w+)\.current\Z")


class CgroupsV2:
    """See `hierarchy.Cgroups`. `root` is the mount of the hierarchy."""

    def __init__(self, root: str) -> None:
        self._root = root
        self.layout: Layout = "v2"
        # What the root has may be less than the kernel has: a controller in use by a v1 hierarchy
        # is missing here.
        names = (read_bytes(f"{root}/cgroup.controllers") or b"").decode().split()
        self.controllers = frozenset(names)

    def file(self, controller: str, path: str, name: str) -> str:
        return f"{tree.directory(self._root, path)}/{name}"

    def _read(self, path: str, name: str) -> bytes | None:
        return read_bytes(f"{tree.directory(self._root, path)}/{name}")

    def exists(self, path: str) -> bool:
        return os.path.isdir(tree.directory(self._root, path))

    def create(self, path: str) -> None:
        tree.directory("", path)
        with contextlib.ExitStack() as undo:
            parent = self._root
            for step in tree.steps(self._root, path):
                # First, so that a parent that cannot delegate leaves nothing to undo.
                _delegate(parent)
                if tree.make(step):
                    undo.callback(tree.remove, step, 0.0)
                parent = step
            undo.pop_all()

    def remove(self, path: str, timeout: float = LEAVE_TIMEOUT) -> None:
        tree.refuse_root(path)
        tree.remove(tree.directory(self._root, path), time.monotonic() + timeout)

    def processes(self, path: str) -> list[int]:
        return tree.processes(tree.directory(self._root, path))

    def kill(self, path: str, timeout: float = LEAVE_TIMEOUT) -> None:
        tree.kill(path, timeout, self.processes, self._strike)

    def _strike(self, path: str) -> None:
        """Kill all at once (cgroup.kill, since Linux 5.14), or one by one until nobody forks.

        No freezing: cgroup.kill catches forks itself, and a frozen process of v2 dies by SIGKILL.
        """
        try:
            write_once(self.file("", path, "cgroup.kill"), b"1")
        except FileNotFoundError:
            tree.kill_each(self.processes(path))

    def apply(self, path: str, resources: Resources) -> None:
        # v2 takes a memory.max below the use, reclaims, and then kills: refused here instead.
        wanted = resources.memory_limit or readings.number(
            resources.unified.get("memory.max", "").encode()
        )
        limits.refuse_below(wanted, readings.number(self._read(path, "memory.current")), path)
        # cpu.max is `quota period`, and the root group has none.
        quota = (self._read(path, "cpu.max") or b"max").split()[0].decode()
        memory = readings.number(self._read(path, "memory.max"))
        limits.execute(
            limits.v2_writes(resources, memory, quota),
            lambda write: self.file(write.controller, path, write.file),
        )

    def cpu(self, path: str) -> Cpu:
        base = readings.cpu_v2(self._read(path, "cpu.stat"))
        quota, _, period = (self._read(path, "cpu.max") or b"max 0").strip().partition(b" ")
        return replace(
            base,
            shares=shares(readings.number(self._read(path, "cpu.weight"))),
            quota=readings.limit(quota),
            period=readings.number(period),
        )

    def memory(self, path: str) -> Memory:
        def read(name: str) -> bytes | None:
            return self._read(path, name)

        base = readings.memory_v2(
            read("memory.current"),
            read("memory.stat"),
            read("memory.max"),
            read("memory.swap.current"),
            read("memory.swap.max"),
        )
        return replace(
            base,
            max_usage=readings.number(read("memory.peak")),  # since Linux 5.19
            failures=readings.flat(read("memory.events")).get(b"max", 0),
            reservation=readings.limit(read("memory.low")) or None,
        )

    def pids(self, path: str) -> Pids:
        return Pids(
            readings.number(self._read(path, "pids.current")),
            readings.limit(self._read(path, "pids.max")),
        )

    def oom_kills(self, path: str) -> int:
        return readings.flat(self._read(path, "memory.events")).get(b"oom_kill", 0)

    def pressure_files(self, path: str) -> tuple[str, str, str] | None:
        group = tree.directory(self._root, path)
        return f"{group}/cpu.pressure", f"{group}/memory.pressure", f"{group}/io.pressure"

    def pressure(self, path: str) -> Pressure | None:
        files = self.pressure_files(path)
        return None if files is None else readings.pressure([read_bytes(name) for name in files])

    def hugetlb(self, path: str) -> tuple[HugePages, ...]:
        return tuple(
            HugePages(
                size,
                readings.number(self._read(path, f"hugetlb.{size}.current")),
                0,  # v2 keeps no peak of huge pages
                readings.limit(self._read(path, f"hugetlb.{size}.max")),
            )
            for size in tree.page_sizes(tree.directory(self._root, path), _HUGE)
        )

    def io(self, path: str) -> tuple[DeviceIo, ...]:
        return readings.io_v2(self._read(path, "io.stat"))


def _delegate(group: str) -> None:
    """Let the groups below have all controllers that this one has.

    A controller's files appear in a group only once its parent names it in subtree_control. The
    kernel refuses (EBUSY) where processes lie in the group itself, the root excepted: processes
    may be in leaves only ("no internal process constraint").
    """
    have = set((read_bytes(f"{group}/cgroup.controllers") or b"").split())
    given = set((read_bytes(f"{group}/cgroup.subtree_control") or b"").split())
    missing = sorted(have - given)
    if not missing:
        return  # most often: no write, which would take the kernel's global cgroup lock
    try:
        write_once(f"{group}/cgroup.subtree_control", b" ".join(b"+" + name for name in missing))
    except OSError as error:
        reason = error.strerror
        if error.errno == errno.EBUSY:
            reason = "there are processes in it; only a group without may delegate controllers"
        raise OSError(error.errno, f"cannot delegate controllers: {reason}", group) from None


def shares(weight: int) -> int:
    """cpu.shares for a cpu.weight: the inverse of `limits.weight`."""
    return 0 if weight == 0 else 2 + (weight - 1) * 262_142 // 9999
