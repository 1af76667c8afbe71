"""Execs that a killed daemon left running, and its files in a handler's scratch directory.

An exec ends with its client, and a client's connection with the daemon. Where the daemon had no
time to end it (kill -9), the next one does: the runtime's pid file stays for as long as the exec
runs.
"""

import os
import time
from pathlib import Path

from berth.linux import processes
from berth.linux.files import read_text
from cri_shim.runtime import exec_processes

_PID = ".pid"
_FILES = (_PID, ".sock")
_TOLERANCE = 1.0
"""Seconds that the two clocks below may be apart."""


def kill_all(directory: Path) -> None:
    """Kill the execs of an earlier daemon, and remove its files."""
    for path in directory.iterdir():
        if path.suffix == _PID:
            _kill(path)
        if path.suffix in _FILES:
            path.unlink(missing_ok=True)


def _kill(file: Path) -> None:
    """End the exec of a pid file with its session and descendants."""
    text = (read_text(file) or "").strip()
    if text.isdigit() and _older(int(text), file.stat().st_mtime):
        exec_processes.kill(int(text), exec_processes.session_of(int(text)))


def _older(pid: int, moment: float) -> bool:
    """Whether it began before: a process that was given the number anew began after.

    The file's time is of the wall clock, the start time counts ticks since boot (proc(5)), with the
    time of suspension in it, as CLOCK_BOOTTIME has.
    """
    start = processes.start_time(pid)
    if start is None:
        return False
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + start / os.sysconf("SC_CLK_TCK") <= moment + _TOLERANCE
