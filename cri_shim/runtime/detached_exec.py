"""`RUNTIME exec --detach`: start a process in a container and become its parent.

Without `--detach` the runtime itself would stay beside each command, as its parent and to copy its
streams. Detached it writes the pid to a file and ends, and the kernel gives the
orphan to the nearest subreaper, which this daemon is; so the exit code comes here, by waitid.

    RUNTIME runs ──code 0──▶ pid file ──▶ child of ours ──ends──▶ reaped, code known
        │ code ≠ 0 ──▶ Refused, what it left is killed
        └ we are cancelled ──▶ 2 s for the runtime, then all is killed and reaped

After kill -9 of the daemon the pid files lie in the scratch directory, and the next daemon ends
what they name (`stale_execs`): nobody could get the output or the code any more.
"""

import asyncio
import contextlib
import itertools
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth.base.errors import RuntimeFailure
from berth.linux import processes
from berth.linux.files import read_text
from berth.linux.processes import Process
from cri_shim.oci.document import render
from cri_shim.runtime import exec_processes, null_device, subreaper
from cri_shim.runtime.handler import ENVIRONMENT, Handler

_numbers = itertools.count(1)
_ABANDON = 2.0
"""Seconds a cancelled call waits for the runtime, before it kills that too."""


class Refused(Exception):
    """The runtime did not start the process; its message is on the stderr it was given."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Detached:
    """A process in a container, ours to wait for though the runtime that made it has ended."""

    def __init__(self, pid: int, pid_file: Path) -> None:
        """The pid file is removed when the process ends (`stale_execs` reads those that remain)."""
        self.pid = pid
        self._pid_file = pid_file
        self._session = exec_processes.session_of(pid)
        # No start time is needed here: as our child it stays a zombie, and keeps its pid, until it
        # is reaped.
        self._pidfd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        code = subreaper.reap(self._pidfd)
        if code is not None:  # a short command ends before its runtime does
            self._finish(code)
        else:
            self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        code = subreaper.reap(self._pidfd)
        self._loop.remove_reader(self._pidfd)
        # None: the sweep of orphans was first; then nobody knows the code.
        self._finish(255 if code is None else code)

    def _finish(self, code: int) -> None:
        os.close(self._pidfd)
        self._pid_file.unlink(missing_ok=True)
        self._ended.set_result(code)

    @property
    def ended(self) -> bool:
        return self._ended.done()

    async def wait(self) -> int:
        """The exit code; 128 + n where signal n killed it."""
        return await (self._ended if self.ended else asyncio.shield(self._ended))

    def kill(self) -> None:
        """SIGKILL it with its session and descendants; nothing where it has ended."""
        if not self.ended:
            exec_processes.kill(self.pid, self._session)


def unique(handler: Handler, suffix: str) -> Path:
    """A path in the handler's scratch directory that no other call uses."""
    return handler.scratch / f"{os.getpid()}-{next(_numbers)}.{suffix}"


async def start(
    handler: Handler,
    id: str,
    process: Mapping[str, Any],
    *,
    stdin: int | None,
    stdout: int | None,
    stderr: int,
    console: Path | None = None,
) -> Detached:
    """Start `process` (OCI process) in container `id`; Refused where the runtime would not.

    Cancelled, it leaves nothing running and no zombie: one that is not reaped would keep the
    container's PID namespace from ending.
    """
    # Before the runtime starts: an orphan goes to the subreaper that there is at that moment.
    subreaper.become_subreaper()
    pid_file = unique(handler, "pid")
    # A memory file: the process's environment may hold secrets, and a file on disk would outlive
    # kill -9. The runtime inherits the descriptor, and reads it through /proc.
    document = os.memfd_create("process.json", os.MFD_CLOEXEC)
    try:
        os.write(document, render(dict(process)))
        options = ["exec", "--detach", "--pid-file", str(pid_file)]
        options += ["--process", f"/proc/self/fd/{document}"]
        if console is not None:
            options += ["--console-socket", str(console)]
        # A stream that nobody asked for is the null device: an inherited descriptor of the daemon,
        # its journal perhaps, would be the container's to write to.
        with null_device.null_of(handler) as null:
            stdin, stdout = (null if fd is None else fd for fd in (stdin, stdout))
            # One session for the runtime and (with crun) its exec: so both can be found and killed.
            runtime = _spawn(handler.argv(*options, id), stdin, stdout, stderr, document)
        await _finish(runtime, pid_file)
        return Detached(_read_pid(pid_file, id), pid_file)
    except BaseException:
        pid_file.unlink(missing_ok=True)
        raise
    finally:
        os.close(document)


def _spawn(
    argv: list[str], stdin: int | None, stdout: int | None, stderr: int, document: int
) -> Process:
    return processes.spawn(
        argv,
        env=ENVIRONMENT,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=(document,),
        new_session=True,
    )


async def _finish(runtime: Process, pid_file: Path) -> None:
    """Wait for the runtime's end; Refused where it failed."""
    try:
        code = await runtime.wait()
    except asyncio.CancelledError:
        await asyncio.shield(_abandon(runtime, pid_file))
        raise
    finally:
        runtime.close()
    if code:
        # A zombie in a PID namespace keeps the namespace, and with it the container, from ending.
        await _kill_and_reap(_left_by(runtime))
        raise Refused(code)


async def _abandon(runtime: Process, pid_file: Path) -> None:
    """Let the runtime finish, which takes milliseconds, and kill what it started."""
    try:
        async with asyncio.timeout(_ABANDON):
            await runtime.wait()
    except TimeoutError:
        killed = exec_processes.kill(runtime.pid, runtime.pid)
        await runtime.wait()
        await _kill_and_reap(killed - {runtime.pid})
    text = read_text(pid_file)
    if text and text.strip().isdigit():
        with contextlib.suppress(ProcessLookupError):
            started = Detached(int(text), pid_file)
            started.kill()
            await started.wait()


def _left_by(runtime: Process) -> set[int]:
    """What a failed runtime left us: crun ends before the child that could not exec does."""
    return {
        pid
        for pid in subreaper.children()
        if pid != runtime.pid and exec_processes.session_of(pid) == runtime.pid
    }


async def _kill_and_reap(pids: set[int]) -> None:
    """Kill and reap processes that became our children when the runtime ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                processes.send_signal(pidfd, signal.SIGKILL)
                await processes.wait_pidfd(pidfd)
                subreaper.reap(pidfd)
            finally:
                os.close(pidfd)


def _read_pid(path: Path, id: str) -> int:
    text = read_text(path)
    if not text or not text.strip().isdigit():
        raise RuntimeFailure(f"exec in container {id}: the OCI runtime wrote no pid file")
    return int(text)
