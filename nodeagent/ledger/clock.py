"""The time that decisions go by: wall time in milliseconds, or a test's own."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

_LONGEST = 3600.0
"""Seconds after which an alarm goes off in any case: the wall clock may have been set."""


class Alarm(Protocol):
    """A call that is due at some time."""

    def cancel(self) -> None:
        """Do not call."""
        ...


class Clock(Protocol):
    """Unix time in milliseconds, and a call at such a time (perhaps early, never much too late)."""

    def now(self) -> int: ...

    def call_at(self, moment: int, callback: Callable[[], None]) -> Alarm: ...


class WallClock:
    """The host's clock; alarms go by the running event loop."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def call_at(self, moment: int, callback: Callable[[], None]) -> Alarm:
        delay = max(0.0, (moment - self.now()) / 1000)
        return asyncio.get_running_loop().call_later(min(delay, _LONGEST), callback)
