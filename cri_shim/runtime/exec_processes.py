"""The processes of one exec: its session and its descendants, and killing them.

An exec has no cgroup of its own (it runs in the container's), so that its processes must be found
otherwise: by session (setsid(2)), and by descent. runc gives each exec a session of its own; crun
leaves it in the runtime's, which we start as one.
"""

import os
import signal
from pathlib import Path

from berth.linux import processes
from berth.linux.files import read_text

_ROUNDS = 20


def session_of(pid: int) -> int:
    """The session of a process, or the process itself where it would be our own session."""
    try:
        session = os.getsid(pid)
    except ProcessLookupError:
        return pid
    return pid if session == os.getsid(0) else session


def members(leader: int, session: int) -> list[tuple[int, int]]:
    """(pid, start time) of `leader`, what runs in the session, and what descends from those.

    A process that left the session is still found while its parents live; zombies are left out.
    """
    table: dict[int, tuple[int, int, int]] = {}
    # proc(5), stat: after the name, which may hold spaces and brackets, come the state, the parent
    # (fields[1]), the session (fields[3]) and the start time (fields[19]).
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (text := read_text(entry / "stat")):
            fields = text[text.rindex(")") + 2 :].split()
            if fields[0] not in "ZX":
                table[int(entry.name)] = int(fields[1]), int(fields[3]), int(fields[19])
    found = {pid for pid, (_, its, _) in table.items() if its == session or pid == leader}
    while more := {pid for pid, (up, _, _) in table.items() if up in found} - found:
        found |= more
    return [(pid, table[pid][2]) for pid in found]


def kill(leader: int, session: int) -> set[int]:
    """SIGKILL all of them, again until none is left: some may have been forking. Their pids."""
    killed: set[int] = set()
    for _ in range(_ROUNDS):
        targets = members(leader, session)
        if not targets:
            break
        killed |= {pid for pid, _ in targets}
        for pid, start in targets:
            # By pidfd and start time: between the scan and the signal the pid may have been given
            # to a process that has nothing to do with this exec.
            pidfd = processes.open_pidfd(pid, start)
            if pidfd is not None:
                processes.send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
    return killed
