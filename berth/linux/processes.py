"""Processes we start, and processes we only watch.

Nothing here forks: `subprocess.Popen` without a preexec function uses vfork, so a large threaded
daemon starts a process in about a millisecond. A fork would copy page tables, and locks that
another thread has taken.

Exits come by pidfd (pidfd_open(2)) through the event loop, which reaps exactly what was spawned
here: no SIGCHLD, no waitpid(-1) that takes somebody else's child. A number alone names nobody,
for the kernel uses it again once its process was reaped; a descriptor, or the number with the
start time, names one process for good.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berth.linux.files import read_text
from berth.linux.pipes import Streams

Argument = str | bytes
Environment = Mapping[str, str] | Mapping[bytes, bytes]

_DRAIN = 0.2
"""Seconds that `run` reads on after the exit, where a grandchild has the pipes open."""

LOST = 255
"""Exit code of a child that somebody else reaped."""


class ProcessTimeout(TimeoutError):
    """A program ran past its time limit and was killed with its process group."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a program ended: exit code (128 + n for signal n) and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


class Process:
    """A child process. It is reaped when it ends, whether anybody waits or not."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self.pid = popen.pid
        self._popen = popen
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._closed = False
        self.pidfd = os.pidfd_open(popen.pid)
        self._loop.add_reader(self.pidfd, self._reap)

    def _reap(self) -> None:
        try:
            found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:  # somebody else reaped our child: its code is lost
            self._finish(LOST)
            return
        if found is not None:
            killed = found.si_code != os.CLD_EXITED
            self._finish(found.si_status + (128 if killed else 0))

    def _finish(self, code: int) -> None:
        self._loop.remove_reader(self.pidfd)
        # Told, so that Popen does not wait for the number itself when it is collected: it may be
        # another process by then.
        self._popen.returncode = code
        if not self._ended.done():
            self._ended.set_result(code)
        if self._closed:
            self._release()

    @property
    def code(self) -> int | None:
        """The exit code where it has ended, else None."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """The exit code; 128 + n where signal n killed it."""
        # Shielded: a waiter that is cancelled must not cancel the future for the others.
        return await asyncio.shield(self._ended)

    def send(self, sig: int) -> bool:
        """Send a signal; False where it has ended."""
        return self.code is None and send_signal(self.pidfd, sig)

    def send_group(self, sig: int) -> bool:
        """Send a signal to its process group (started with `new_session`); False if it ended."""
        # There is no pidfd of a group. The number is safe while the leader is not reaped, and
        # that is done by `_reap` alone, on this thread.
        if self.code is not None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, sig)
        return True

    def close(self) -> None:
        """Close the descriptor: now, or at the end of a process that still runs."""
        if not self._closed:
            self._closed = True
            if self.code is not None:
                self._release()

    def _release(self) -> None:
        os.close(self.pidfd)
        self.pidfd = -1


def spawn(
    argv: Sequence[Argument],
    *,
    env: Environment | None = None,
    cwd: str | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
    new_session: bool = False,
) -> Process:
    """Start a program inside the running event loop.

    A stream that is None is /dev/null. `env` None gives our own environment. The child has the
    descriptors of `pass_fds` under the same numbers, and no others. OSError names the program.
    """
    null = subprocess.DEVNULL
    popen = subprocess.Popen(
        list(argv),
        env=env,
        cwd=cwd,
        stdin=null if stdin is None else stdin,
        stdout=null if stdout is None else stdout,
        stderr=null if stderr is None else stderr,
        pass_fds=tuple(pass_fds),
        start_new_session=new_session,
    )
    return Process(popen)


async def run(
    argv: Sequence[Argument],
    *,
    input: bytes = b"",
    timeout: float,
    env: Environment | None = None,
    cwd: str | None = None,
    max_output: int = 1 << 20,
    pass_fds: Sequence[int] = (),
) -> Result:
    """Run a program to its end in a session of its own.

    Of each output the first `max_output` bytes are kept. At the timeout (seconds), or when the
    caller is cancelled, its whole process group is killed; ProcessTimeout names the program.
    """
    with contextlib.ExitStack() as stack:
        streams = Streams(input, max_output, stack)
        process = spawn(
            argv,
            env=env,
            cwd=cwd,
            stdin=streams.child_stdin,
            stdout=streams.child_stdout,
            stderr=streams.child_stderr,
            pass_fds=pass_fds,
            new_session=True,
        )
        stack.callback(process.close)
        streams.started()
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
        except TimeoutError:
            process.send_group(signal.SIGKILL)
            stderr = bytes(streams.stderr.data[-400:]).decode(errors="replace").strip()
            raise ProcessTimeout(
                f"{os.fsdecode(argv[0])} did not end within {timeout:g} s and was killed"
                + (f"; its stderr: {stderr}" if stderr else "")
            ) from None
        except asyncio.CancelledError:
            process.send_group(signal.SIGKILL)
            raise
        # Its last output may still be in the pipes, but a grandchild in the background (a CNI
        # plugin's daemon) may keep them open for ever.
        await streams.drain(_DRAIN)
        return Result(code, bytes(streams.stdout.data), bytes(streams.stderr.data))


def start_time(pid: int) -> int | None:
    """When the process began, in clock ticks after boot (proc_pid_stat(5), field 22).

    None where it is gone.
    """
    text = read_text(f"/proc/{pid}/stat")
    # Field 2 is the program's name in parentheses, and may have blanks and parentheses itself.
    return None if not text else int(text[text.rindex(")") + 2 :].split()[19])


def open_pidfd(pid: int, start: int) -> int | None:
    """A descriptor of the process with this number and start; None where it is gone."""
    # Opened first and compared then: what the descriptor names cannot change any more.
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    if start_time(pid) == start:
        return pidfd
    os.close(pidfd)
    return None


def send_signal(pidfd: int, sig: int) -> bool:
    """Send a signal to this one process; False where it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, sig)
    except ProcessLookupError:
        return False
    return True


async def wait_pidfd(pidfd: int) -> None:
    """Wait until the process has ended; many may wait on one descriptor."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    # The loop has one reader a descriptor: a second waiter on the same one would replace the first.
    own = os.dup(pidfd)
    loop.add_reader(own, _settle, ended)
    try:
        await ended
    finally:
        loop.remove_reader(own)
        os.close(own)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
