"""cri-shim that tells which callbacks held its event loop for long.

    python -m tests.support.loop_watch REPORT cri-shim-arguments...

REPORT gets a line of JSON for each callback that took more than LIMIT once the socket is served.
A long callback is not always its own fault: the machine may have run others, or another thread
the interpreter. So three clocks beside the wall's tell what the time went into:

- CPU: the callback's thread computed. Its own fault, however busy the machine is.
- run delay: the thread could have run, but the kernel ran others (proc(5), /proc/PID/schedstat).
- ticks: a second thread wakes each millisecond. Where it could not, the whole process stood
  still or others kept the interpreter's lock; where it could, and the loop's thread neither
  computed nor waited for a CPU, then it slept in a system call.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import berth
import cri_shim
from cri_shim import cli
from cri_shim.api.server import Server

# By their whole paths: a checkout may lie in a directory of the same name.
_PACKAGES = tuple(f"{path}/" for package in (berth, cri_shim) for path in package.__path__)

LIMIT = 20.0
"""Milliseconds that a callback may take."""
_TICK = 0.001
_LOOK = 0.010
"""Seconds after which the second thread looks where the callback is."""


@dataclass(frozen=True)
class Held:
    """One long callback; times in milliseconds."""

    place: str
    wall: float
    cpu: float
    delay: float
    ticks: int

    @property
    def computed(self) -> bool:
        return self.cpu > LIMIT

    @property
    def slept(self) -> bool:
        """In a system call, while the second thread had at least a third of its ticks."""
        return self.wall - self.cpu - self.delay > LIMIT and self.ticks > self.wall / 3


def offenders(report: Path) -> dict[str, list[Held]]:
    """Places that held the loop at least twice by their own fault, with each time they did.

    Once may be a page that had to come from disk, or a collection of the interpreter's garbage.
    """
    held = [Held(**json.loads(line)) for line in report.read_text().splitlines()]
    guilty = [one for one in held if one.computed or one.slept]
    times = Counter(one.place for one in guilty)
    return {p: [one for one in guilty if one.place == p] for p, n in times.items() if n > 1}


class Watch:
    """Times each callback of the loop, and looks into those that take long."""

    def __init__(self, report: TextIO) -> None:
        self._report = report
        self._ticks = 0
        self._began = 0.0
        self._frames: list[str] = []
        self._loop_thread = threading.get_ident()
        self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def start(self) -> None:
        """Begin; called on the loop's thread."""
        threading.Thread(target=self._tick, name="loop watch", daemon=True).start()
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            ticks, delay = self._ticks, self._delay()
            cpu = time.thread_time()
            self._frames = []
            began = self._began = time.monotonic()
            try:
                run(handle)
            finally:
                self._began = 0.0
                wall = time.monotonic() - began
                if wall * 1e3 > LIMIT:
                    spent = (wall, time.thread_time() - cpu, self._delay() - delay)
                    self._tell(handle, spent, self._ticks - ticks)

        asyncio.Handle._run = timed  # type: ignore[method-assign]  # the point of this module

    def _delay(self) -> float:
        """Seconds that this thread was ready to run and did not."""
        return int(os.pread(self._schedstat, 64, 0).split()[1]) / 1e9

    def _tick(self) -> None:
        while True:
            time.sleep(_TICK)
            self._ticks += 1
            began = self._began
            if began and not self._frames and time.monotonic() - began > _LOOK:
                frame = sys._current_frames().get(self._loop_thread)
                self._frames = list(_ours(frame))

    def _tell(self, handle: Any, spent: Iterable[float], ticks: int) -> None:
        place = " < ".join(self._frames) or _name(handle)
        wall, cpu, delay = (round(seconds * 1e3, 1) for seconds in spent)
        self._report.write(json.dumps(asdict(Held(place, wall, cpu, delay, ticks))) + "\n")
        self._report.flush()


def _ours(frame: FrameType | None) -> Iterable[str]:
    """The daemon's own functions on the stack, innermost first."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_PACKAGES):
            yield f"{path.rpartition('/')[2]}:{frame.f_code.co_qualname}"
        frame = frame.f_back


def _name(handle: Any) -> str:
    """The coroutine of a task's step, else the callback."""
    owner = getattr(handle._callback, "__self__", None)
    return repr(owner.get_coro() if isinstance(owner, asyncio.Task) else handle._callback)


def arm(report: Path) -> None:
    """Watch from the moment that the socket is served."""
    start = Server.start

    async def started(self: Server) -> None:
        await start(self)
        Watch(report.open("a")).start()

    Server.start = started  # type: ignore[method-assign]  # the point of this module


if __name__ == "__main__":
    arm(Path(sys.argv[1]))
    sys.exit(cli.main(sys.argv[2:]))
