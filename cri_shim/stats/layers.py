"""Disk use of writable layers: walked in the background, returned from memory.

A walk of a large layer takes long, so a figure may be some seconds old. The age that is allowed
grows with the time that the walk took: at most a twentieth of a CPU goes into walking.
"""

import asyncio
import os
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from berth.linux.tasks import Tasks
from cri_shim.stats.usage import LayerUsage

Measure = Callable[[], tuple[int, int]]
"""Returns used bytes and inodes; blocks, and runs on a thread."""
FRESH = 10.0
"""Seconds for which a figure is good without another walk."""
STALE = 6
"""After so many times that age a caller waits for the new walk."""
_IDLE_PER_WALK = 20


@dataclass(slots=True)
class _Layer:
    mountpoint: str
    measure: Measure
    usage: LayerUsage | None = None
    walked: float = float("-inf")
    cost: float = 0.0
    walk: "asyncio.Task[None] | None" = field(default=None)

    def good_for(self) -> float:
        """Seconds that its figure is good for."""
        return max(FRESH, self.cost * _IDLE_PER_WALK)


class Layers:
    """The writable layers of all containers."""

    def __init__(self, tasks: Tasks, walkers: int = 1) -> None:
        self._tasks = tasks
        self._layers: dict[Hashable, _Layer] = {}
        # One walk at a time: two on one disk take longer than one after the other.
        self._slots = asyncio.Semaphore(walkers)

    def add(self, key: Hashable, mountpoint: str, measure: Measure) -> None:
        """Begin with a layer on the filesystem at `mountpoint`."""
        self._layers[key] = _Layer(mountpoint, measure)

    def forget(self, key: Hashable) -> None:
        """Drop a layer; one that is unknown is fine. Its walk, if any, ends by itself."""
        self._layers.pop(key, None)

    def known(self, key: Hashable) -> LayerUsage | None:
        """The figure at hand without waiting; begins a walk where it is old or missing."""
        layer = self._layers.get(key)
        if layer is None:
            return None
        if time.monotonic() - layer.walked > layer.good_for():
            self._begin(key, layer)
        return layer.usage

    async def get(self, key: Hashable) -> LayerUsage | None:
        """As `known`, but waits for the walk where there is no figure or a very old one.

        None for an unknown layer, or one whose walk failed.
        """
        usage = self.known(key)
        layer = self._layers.get(key)
        if layer is None or layer.walk is None:
            return usage
        if usage is None or time.monotonic() - layer.walked > layer.good_for() * STALE:
            await asyncio.wait([layer.walk])
        return layer.usage

    async def first_walks(self, keys: Iterable[Hashable], timeout: float) -> None:
        """Wait for the first walks of these layers, at most `timeout` seconds for them all."""
        missing = {key for key in keys if self.known(key) is None}
        walks = [w for k, layer in self._layers.items() if k in missing and (w := layer.walk)]
        if walks:
            await asyncio.wait(walks, timeout=timeout)

    def _begin(self, key: Hashable, layer: _Layer) -> None:
        if layer.walk is None:
            layer.walk = self._tasks.start(self._walk(layer), f"disk use of {key}")

    async def _walk(self, layer: _Layer) -> None:
        try:
            async with self._slots:
                began = time.monotonic()
                used, inodes = await asyncio.to_thread(layer.measure)
                layer.cost = time.monotonic() - began
                layer.usage = LayerUsage(time.time_ns(), layer.mountpoint, used, inodes)
        finally:
            layer.walked = time.monotonic()  # also after a failure: it is tried again later
            layer.walk = None


def measure_directory(path: str) -> tuple[int, int]:
    """Bytes on disk and inodes of a directory with all in it, hard links once; a missing one is 0.

    Links are not followed. Names that go away meanwhile are passed over.
    """
    used = inodes = 0
    seen: set[int] = set()
    # A list and not recursion: a container may nest directories deeper than Python's stack.
    waiting = [path]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    try:
                        stat = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    # Blocks, not length: a sparse file takes what is written of it. A file with two
                    # names takes it once.
                    if stat.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if stat.st_ino in seen:
                            continue
                        seen.add(stat.st_ino)
                    used += stat.st_blocks * 512
                    inodes += 1
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return used, inodes
