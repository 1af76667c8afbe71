"""This daemon as the parent of orphans, so that detached execs and lost containers have one.

An OCI runtime's `exec --detach` ends at once; its process then goes to the nearest subreaper
above (prctl(2), PR_SET_CHILD_SUBREAPER). With this daemon as that subreaper the exit code reaches
us, no zombie waits for a slow PID 1 (a zombie keeps its cgroup busy), and a container whose conmon
was killed still has a parent that learns its code.

Who reaps. conmon is a subreaper too, and nearer: it reaps its container. What is watched here by
pidfd (execs, conmon, containers without conmon) its watcher reaps. `Orphans` takes the rest, and
only at the second sweep that sees it, for an exit code can be had once. After a restart the
daemon is no parent of what runs: PID 1 is, and codes come from conmon's exit files alone.
"""

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from berth.linux import processes
from berth.linux.files import read_text

_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Make the orphans below this process its children (prctl(2)); costs nothing to repeat."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, f"PR_SET_CHILD_SUBREAPER: {os.strerror(error)}")


def reap(pidfd: int) -> int | None:
    """The exit code of an ended child (128 + n for signal n).

    None where it still runs, was reaped before, or is no child of ours.
    """
    with contextlib.suppress(ChildProcessError):
        # WNOHANG: it is asked for also right after the start, when the process may still run.
        found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
        if found is not None:
            killed = found.si_code != os.CLD_EXITED
            return found.si_status + (128 if killed else 0)
    return None


class Orphans:
    """Reaps adopted processes that nobody here watches.

    Needed, not tidy: a zombie keeps its PID namespace and its cgroup from going away.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    async def run(self, interval: float) -> None:
        """Sweep every `interval` seconds, until cancelled."""
        while True:
            await asyncio.sleep(interval)
            self.sweep()

    def sweep(self) -> int:
        """Reap zombies that were there at the last sweep too; how many.

        A zombie with a watcher is reaped by it within milliseconds; one that is still there at
        the next sweep has none.
        """
        if not _any_zombie():
            self._seen = set()
            return 0
        # With the start time: a pid may be given anew between two sweeps.
        zombies = set(_zombies())
        stale = zombies & self._seen
        self._seen = zombies - stale
        for pid, _ in stale:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return len(stale)


def _any_zombie() -> bool:
    """One system call, so that a sweep costs nothing while there is nothing to do."""
    with contextlib.suppress(ChildProcessError):
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT  # WNOWAIT: look, and leave it to be reaped
        return os.waitid(os.P_ALL, 0, options) is not None
    return False


def children() -> Iterator[int]:
    """The pids of our own children, zombies among them."""
    # A child belongs to the thread that made it: the list of the process is in no single file.
    for thread in Path("/proc/self/task").iterdir():
        yield from map(int, (read_text(thread / "children") or "").split())


def _zombies() -> Iterator[tuple[int, int]]:
    """(pid, start time) of children that ended and were not reaped."""
    for pid in children():
        state = read_text(f"/proc/{pid}/stat") or ""
        if state[state.rfind(")") + 2 :][:1] == "Z":
            yield pid, processes.start_time(pid) or 0
