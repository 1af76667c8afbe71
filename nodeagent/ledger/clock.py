"""The time that decisions go by: wall time in milliseconds, or a test's own."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

# An alarm is set once, by a delay; what the wall clock does afterwards it cannot know. NTP may step
# the clock, and CLOCK_MONOTONIC, by which event loops wait, stands still while a host is suspended.
# A window that begins in 20 hours would then begin late by as much. So every alarm goes off within
# the hour; the ledger looks at the clock again and sets the next one.
_LONGEST_SECONDS = 3600.0


class Alarm(Protocol):
    """A callback that is due at some time."""

    def cancel(self) -> None:
        """Do not call."""
        ...


class Clock(Protocol):
    """Unix time in milliseconds, and callbacks at such times.

    A callback may come early: whoever is called looks at `now` again. It comes late only if the
    clock was set meanwhile.
    """

    def now(self) -> int: ...

    def call_at(self, moment: int, callback: Callable[[], None]) -> Alarm: ...


class WallClock:
    """The host's clock; alarms go by the running event loop.

    Wall time, because windows of a plan are times of day and deadlines must outlive a restart of
    the agent and of the host. It may run backwards: the allocator takes no time before its last.
    """

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def call_at(self, moment: int, callback: Callable[[], None]) -> Alarm:
        # Negative where it is overdue, which a loop takes for now.
        delay = (moment - self.now()) / 1000
        return asyncio.get_running_loop().call_later(min(delay, _LONGEST_SECONDS), callback)
