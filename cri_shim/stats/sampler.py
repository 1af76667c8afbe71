"""CPU rates from counters that are read anyway.

Each counter keeps two samples. A rate spans a second or more, from an older sample to the newest
reading, so a request needs no reading of its own beyond the one that it makes anyway. A slow
background round keeps the samples young between requests.
"""

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass

from cri_shim.stats.group import Group

WINDOW = 1_000_000_000
"""The shortest span of a rate in nanoseconds."""
PERIOD = 5.0
"""Seconds between two background rounds."""


@dataclass(slots=True)
class _Track:
    """Samples are (monotonic ns, CPU ns); `last` is at least a window younger than `before`."""

    group: Group | None
    last: tuple[int, int]
    before: tuple[int, int] | None = None
    rate: int | None = None


class Sampler:
    """Rates of many counters. Used from one thread."""

    def __init__(self) -> None:
        self._tracks: dict[Hashable, _Track] = {}

    def watch(self, key: Hashable, group: Group | None, now: int, used: int = 0) -> None:
        """Begin with a counter: `used` CPU time (0 for a new group) at monotonic time `now`."""
        self._tracks[key] = _Track(group, (now, used))

    def forget(self, key: Hashable) -> None:
        """Drop a counter; one that is unknown is fine."""
        self._tracks.pop(key, None)

    def __len__(self) -> int:
        return len(self._tracks)

    def observe(self, key: Hashable, now: int, used: int) -> int | None:
        """Take a reading; return the rate in nano-cores, None in a counter's first second.

        An unknown key is watched from here on. A counter that runs backwards begins anew.
        """
        track = self._tracks.get(key)
        # A cgroup that was removed and made again under its name counts from zero.
        if track is None or used < track.last[1]:
            self.watch(key, None if track is None else track.group, now, used)
            return None
        # The newer sample where it is old enough, else the older one: so a rate spans one to two
        # windows where requests come often, and more than that only where nobody asks.
        base = track.last if now - track.last[0] >= WINDOW else track.before
        if base is not None:
            track.rate = (used - base[1]) * 1_000_000_000 // (now - base[0])
        if now - track.last[0] >= WINDOW:
            track.before, track.last = track.last, (now, used)
        return track.rate

    def round(self, now: int) -> None:
        """Read every watched group once; those that are gone keep their last rate."""
        for key, track in list(self._tracks.items()):
            if track.group is not None and (used := track.group.cpu_time()) is not None:
                self.observe(key, now, used)

    # On the event loop, and not in a thread: one read of some microseconds for each container.
    async def run(self, period: float = PERIOD) -> None:
        """Rounds for ever; the owner cancels it."""
        while True:
            self.round(time.monotonic_ns())
            await asyncio.sleep(period)
