"""Learning that containers ended, and with which code.

Two pidfds a container: conmon's and its own. conmon reaps the container, writes the exit file
and ends; so its end with an exit file says everything. Where conmon was killed, the container
is watched on, and its code is known only if the kernel made us its parent.

Why conmon's end and not the container's is the exit: when the process ends, its last output is
still in the pipes, and conmon drains them into the log before it ends. Reported earlier, a kubelet
that reads the log at once would miss the last lines.

    watching ──conmon ended, exit file──────────────▶ reported
        │ ────conmon ended, none──▶ orphaned ──container ended──▶ reported (unknown, or reaped)
        └──container ended──▶ closing ──conmon ended──▶ reported
                                 └──conmon stuck for 5 s: killed──▶ reported (unknown)
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from berth.linux import processes
from berth.linux.files import read_text
from berth.linux.tasks import Tasks
from cri_shim.runtime import subreaper

UNKNOWN_CODE = 255
_CLOSING = 5.0
"""Seconds conmon may take to drain the pipes after the container's process ended."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended: `at` in Unix nanoseconds, `reason` as text where not `known`."""

    code: int
    at: int
    known: bool
    oom: bool = False
    reason: str = ""


Done = Callable[[Exit], Awaitable[None] | None]


class ExitWatcher:
    """Watches any number of containers, fresh or found after a restart, on one event loop."""

    def __init__(self, tasks: Tasks, closing: float = _CLOSING) -> None:
        self._tasks = tasks
        self._closing = closing
        self._watches: dict[str, _Watch] = {}

    def watch(
        self,
        id: str,
        pid: int,
        pid_start: int,
        conmon_pid: int,
        conmon_start: int,
        exit_file: Path,
        done: Done,
    ) -> None:
        """Call `done` once when the container has ended; also where it ended long ago."""
        self.forget(id)
        # By number and start time: after a restart of the daemon or the host the number may be
        # another process's; then it counts as ended.
        container = processes.open_pidfd(pid, pid_start) if pid else None
        conmon = processes.open_pidfd(conmon_pid, conmon_start) if conmon_pid else None
        watch = _Watch(container, conmon, exit_file, self._closing, self._reporter(id, done))
        self._watches[id] = watch
        watch.begin()

    def forget(self, id: str) -> None:
        """Stop watching; unknown ids are fine."""
        if watch := self._watches.pop(id, None):
            watch.close()

    def close(self) -> None:
        for id in list(self._watches):
            self.forget(id)

    def _reporter(self, id: str, done: Done) -> Callable[[Exit], None]:
        def report(exit: Exit) -> None:
            self.forget(id)
            if (waiting := done(exit)) is not None:
                self._tasks.start(_finish(waiting), f"exit of container {id}")

        return report


async def _finish(waiting: Awaitable[None]) -> None:
    await waiting


class _Watch:
    """One container's pidfds; a descriptor is None once its process is known to have ended."""

    def __init__(
        self,
        container: int | None,
        conmon: int | None,
        exit_file: Path,
        closing: float,
        report: Callable[[Exit], None],
    ) -> None:
        self._container = container
        self._conmon = conmon
        self._exit_file = exit_file
        self._closing = closing
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._status: int | None = None

    def begin(self) -> None:
        if self._container is not None:
            self._loop.add_reader(self._container, self._container_ended)
        if self._conmon is not None:
            self._loop.add_reader(self._conmon, self._conmon_ended)
        elif self._container is None or self._exit_file.exists():
            # Ended while no daemon ran. Not at once: the caller has not stored the record that
            # `done` will change.
            self._timer = self._loop.call_soon(self._conclude)

    def _conmon_ended(self) -> None:
        # Without an exit file conmon was killed. Its children went to us, so the container is now
        # ours to reap; where this daemon is younger than conmon they went to PID 1.
        if self._conmon is not None:
            subreaper.reap(self._conmon)
        self._drop_conmon()
        if self._container is None or self._exit_file.exists():
            self._conclude()

    def _container_ended(self) -> None:
        if self._container is not None:
            self._status = subreaper.reap(self._container)
        self._drop_container()
        if self._conmon is None:
            self._conclude()
        else:
            # The usual order: conmon reaps the container, then drains, writes and ends; all that
            # takes it milliseconds.
            self._timer = self._loop.call_later(self._closing, self._give_up)

    def _give_up(self) -> None:
        """conmon drains a pipe that somebody keeps filling: end it, and lose the exit code.

        A process outside the container's PID namespace that inherited the pipe can do that, and a
        pod that waits for ever to be stopped is worse than an exit code that is unknown.
        """
        if self._conmon is not None:
            processes.send_signal(self._conmon, signal.SIGKILL)

    def _conclude(self) -> None:
        # conmon's file wins: our own status is there only if we were the parent, and then it is the
        # same.
        exit = _read_exit(self._exit_file)
        oom = self._exit_file.with_name("oom").exists()
        if exit is not None:
            self._report(Exit(exit[0], exit[1], True, oom))
        elif self._status is not None:
            self._report(Exit(self._status, time.time_ns(), True, oom))
        else:
            reason = "conmon was killed before it could note the exit code"
            self._report(Exit(UNKNOWN_CODE, time.time_ns(), False, oom, reason))

    def _drop_container(self) -> None:
        if self._container is not None:
            self._loop.remove_reader(self._container)
            os.close(self._container)
            self._container = None

    def _drop_conmon(self) -> None:
        if self._conmon is not None:
            self._loop.remove_reader(self._conmon)
            os.close(self._conmon)
            self._conmon = None

    def close(self) -> None:
        self._drop_container()
        self._drop_conmon()
        if self._timer is not None:
            self._timer.cancel()


def _read_exit(path: Path) -> tuple[int, int] | None:
    """(code, Unix nanoseconds of its writing); None where there is no exit file."""
    text = read_text(path)
    if not text or not text.strip().lstrip("-").isdigit():
        return None
    # The file's time and not now: after a restart of the daemon the exit may be hours old. -1 is
    # conmon's "status unknown"; as an exit code it is 255.
    return int(text) & 0xFF, path.stat().st_mtime_ns
