"""Creating a container behind conmon, which keeps its pipes, log and exit code.

    this daemon        conmon                          RUNTIME create       container
        │── spawn ───────▶│
        │                 │ fork: the parent ends, the child is in the background
        │                 │── fork, exec ────────────────────▶│── clone ────────▶│ waits for start
        │                 │◀───────────────── ends, code 0 ───│                  │
        │◀─ sync pipe ────│ {"pid": N}, or {"pid": -1, "message": …}             │
        │                 │◀──────────────────────────────────────── ends ───────│
        │                 │ drains the pipes, writes persist/exit, ends

The background process becomes a child of the nearest subreaper, which is this daemon. It outlives
the daemon: kill -9 of the daemon costs no output, no log line and no exit code.

Files, all of conmon's making: in `persist` the two pid files, `exit` (the code in decimal digits,
written at once by rename) and `oom` (empty: the kernel killed in the container's cgroup); in the
bundle the attach socket, the control FIFO `ctl`, and `winsz`, between its own halves.
Source: conmon `src/conmon.c`, `src/ctr_exit.c`, `src/cgroup.c`.
"""

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from berth.base.errors import BerthError, DeadlineExceeded, RuntimeFailure
from berth.linux import processes
from berth.linux.files import read_text
from berth.linux.processes import Process
from cri_shim.runtime import commands, messages, subreaper
from cri_shim.runtime.handler import ENVIRONMENT, Handler

EXIT_FILE = "exit"
OOM_FILE = "oom"
_PIDFILE = "pidfile"
_CONMON_PIDFILE = "conmon.pid"
_RESTORE_LOG = "restore.log"
_BUNDLE_FILES = ("attach", "ctl", "winsz", "logs", _RESTORE_LOG, "stats-restore")
_PERSIST_FILES = (_PIDFILE, _CONMON_PIDFILE, EXIT_FILE, OOM_FILE)
_RESTORE_OPTIONS = ("--file-locks", "--tcp-established")
"""As `commands.checkpoint` has them: CRIU wants the same at both ends."""
_CONMON_END = 2.0
"""Seconds given to conmon to end after it reported a failure; then it is killed."""


@dataclass(frozen=True, slots=True)
class Launch:
    """All that conmon needs to create a container from a bundle.

    `log` is the CRI log file (made by conmon, mode 0600), None for no log. `stdin_once`: stdin
    ends with the first attached client. `persist`: directory for exit and pid files. Attach socket
    and control fifo lie in the bundle. `conmon_cgroup`: `cgroup.procs` files to move conmon into
    before it starts anything; empty leaves it beside the daemon.
    """

    id: str
    bundle: Path
    handler: Handler
    log: str | None
    persist: Path
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    conmon_cgroup: tuple[str, ...] = ()
    restore: Path | None = None
    """Directory with CRIU's images of a container: it is made from them and runs at once."""

    @property
    def exit_file(self) -> Path:
        return self.persist / EXIT_FILE


@dataclass(frozen=True, slots=True)
class Created:
    """The container's first process and its conmon: number and start time (clock ticks)."""

    pid: int
    pid_start: int
    conmon_pid: int
    conmon_start: int


async def create(launch: Launch, timeout: float) -> Created:
    """Create the container; its process waits for `commands.start`.

    RuntimeFailure gives the OCI runtime's own message, DeadlineExceeded comes after `timeout`
    seconds; both leave neither processes nor files behind.
    """
    with contextlib.ExitStack() as stack:
        sync_read, sync_write = _pipe(stack)
        stderr_read, stderr_write = _pipe(stack)
        try:
            starter = _spawn(launch, sync_write, stderr_write)
        finally:
            # Or the pipes would have a writer, us, for ever, and a conmon that died would be waited
            # for until the timeout.
            os.close(sync_write)
            os.close(stderr_write)
        stack.callback(starter.close)
        try:
            async with asyncio.timeout(timeout):
                # The line first: conmon's first process ends at once, long before the create does.
                report = await _line(sync_read)
                await starter.wait()
            return _created(launch, _pid(launch, report, stderr_read))
        except TimeoutError:
            await _undo(launch, starter, grace=0)
            raise DeadlineExceeded(
                f"cannot create container {launch.id}: {launch.handler.kind} create did not end"
                f" within {timeout:g} s and was killed"
            ) from None
        except BerthError:
            await _undo(launch, starter, grace=_CONMON_END)
            raise
        except asyncio.CancelledError:
            # The verb is retried by kubelet under the same name: nothing may be left in its way.
            await asyncio.shield(_undo(launch, starter, grace=0))
            raise


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe whose read end, not blocking, closes with the stack."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    stack.callback(os.close, read)
    return read, write


def _spawn(launch: Launch, sync: int, stderr: int) -> Process:
    environment = {**ENVIRONMENT, "_OCI_SYNCPIPE": str(sync)}
    # conmon before 2.1.13 writes its `oom` file into the working directory too.
    cwd = str(launch.persist)
    if not launch.conmon_cgroup:
        return processes.spawn(
            _argv(launch), env=environment, cwd=cwd, stderr=stderr, pass_fds=(sync,)
        )
    # Until a byte comes through the start pipe conmon does nothing. Moved now, it takes all that it
    # starts with it; moved later, its runtime could be in the cgroup of the daemon, and be killed
    # or counted with it.
    start_read, start_write = os.pipe2(os.O_CLOEXEC)
    try:
        environment["_OCI_STARTPIPE"] = str(start_read)
        conmon = processes.spawn(
            _argv(launch), env=environment, cwd=cwd, stderr=stderr, pass_fds=(sync, start_read)
        )
        # cgroup v1 has a file in each hierarchy.
        for path in launch.conmon_cgroup:
            Path(path).write_text(str(conmon.pid))
        os.write(start_write, b"go")
        return conmon
    finally:
        os.close(start_read)
        os.close(start_write)


def _argv(launch: Launch) -> list[str]:
    handler = launch.handler
    argv = ["conmon", "--cid", launch.id, "--cuuid", launch.id, "--name", launch.id]
    argv += ["--runtime", _runtime(launch), "--runtime-arg", f"--root={handler.root}"]
    # Full attach: the socket in the bundle itself, not by a link below /var/run/crio.
    argv += ["--bundle", str(launch.bundle), "--full-attach"]
    argv += ["--persist-dir", str(launch.persist)]
    argv += ["--container-pidfile", str(launch.persist / _PIDFILE)]
    argv += ["--conmon-pidfile", str(launch.persist / _CONMON_PIDFILE)]
    # No fsync of the log at the end: on a busy disk it would delay the exit file.
    argv += ["--log-path", _log_argument(launch), "--no-sync-log"]
    if handler.systemd_cgroup:
        argv.append("--systemd-cgroup")
    if launch.restore is not None:
        argv += ["--restore", str(launch.restore)]
        argv += [f"--runtime-opt={option}" for option in _RESTORE_OPTIONS]
    if launch.terminal:
        argv.append("--terminal")
    # Without --stdin the container has /dev/null. With it the pipe stays open for later clients,
    # unless stdin_once: conmon then closes it when the first client has ended its own.
    if launch.stdin:
        argv.append("--stdin")
        if not launch.stdin_once:
            argv.append("--leave-stdin-open")
    return argv


def _runtime(launch: Launch) -> str:
    """The binary, or where conmon gives it the host's /dev/null, the launcher of `null_device`.

    On a terminal the streams of the runtime itself are the null device too.
    """
    piped = launch.stdin and not launch.terminal
    return str(launch.handler.binary if piped else launch.handler.launcher or launch.handler.binary)


def _log_argument(launch: Launch) -> str:
    """conmon cuts the path at its first colon: a directory with one is reached by a link."""
    if launch.log is None:
        return "none"
    if ":" not in launch.log:
        return f"k8s-file:{launch.log}"
    directory, name = os.path.split(launch.log)
    if ":" in name:
        raise RuntimeFailure(
            f"cannot log container {launch.id} to {launch.log}: conmon takes no colon in the"
            " name of a log file; set log_path without one"
        )
    link = launch.bundle / "logs"
    link.unlink(missing_ok=True)
    link.symlink_to(directory)
    return f"k8s-file:{link}/{name}"


async def _line(fd: int) -> bytes:
    """The first line of the sync pipe; what came before the end where there is no line."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    data = bytearray()

    def read() -> None:
        with contextlib.suppress(BlockingIOError):
            chunk = os.read(fd, 1 << 16)
            data.extend(chunk)
            if (not chunk or b"\n" in chunk) and not done.done():
                done.set_result(bytes(data))

    loop.add_reader(fd, read)
    try:
        return await done
    finally:
        loop.remove_reader(fd)


def _pid(launch: Launch, report: bytes, stderr: int) -> int:
    """The container's pid out of conmon's report; RuntimeFailure where it has none."""
    try:
        # Not strict: control characters of the message may stand in it as they are.
        found = json.loads(report.decode("utf-8", "replace"), strict=False)
        pid, message = int(found["pid"]), str(found.get("message", ""))
    except (ValueError, KeyError, TypeError):
        pid, message = -1, ""
    if pid > 0:
        return pid
    name: str = launch.handler.kind
    cause = messages.plain(message.encode("utf-8", "replace"))
    if not cause:
        name, cause = "conmon", _conmon_message(stderr)
    if launch.restore is not None:
        errors = messages.criu(read_text(launch.bundle / _RESTORE_LOG) or "")
        cause = f"{cause}: {errors}" if errors else cause
    raise RuntimeFailure(f"cannot create container {launch.id}: {name}: {cause}")


def _conmon_message(fd: int) -> str:
    """conmon's own message, `[conmon:e]: Failed to open log file: …`, or that it had none."""
    try:
        text = os.read(fd, 1 << 14).decode("utf-8", "replace")
    except BlockingIOError:
        text = ""
    lines = [line.split("]: ", 1)[-1].strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "ended without a message"


def _created(launch: Launch, pid: int) -> Created:
    # Start times beside the numbers: after a restart of the daemon, or of the host, a number alone
    # may name another process.
    pid_start = processes.start_time(pid)
    conmon = _conmon(launch)
    if pid_start is None or conmon is None:
        raise RuntimeFailure(
            f"cannot create container {launch.id}: its process ended before it was started"
        )
    return Created(pid, pid_start, *conmon)


def _conmon(launch: Launch) -> tuple[int, int] | None:
    """Number and start time of the conmon in the background; None where there is none."""
    text = read_text(launch.persist / _CONMON_PIDFILE)
    if not text or not text.strip().isdigit():
        return None
    start = processes.start_time(int(text))
    return None if start is None else (int(text), start)


async def _undo(launch: Launch, starter: Process, grace: float) -> None:
    """End conmon (the runtime it runs dies with it) and remove all that they made.

    The runtime dies by PR_SET_PDEATHSIG, which conmon sets. Only then the container is deleted: a
    runtime that still ran could make it anew behind the deletion.
    """
    starter.send(signal.SIGKILL)
    # Before the pid file is read: until it has ended, conmon may still be forking.
    await starter.wait()
    if (conmon := _conmon(launch)) and (pidfd := processes.open_pidfd(*conmon)) is not None:
        try:
            await _end(pidfd, grace)
        finally:
            os.close(pidfd)
    with contextlib.suppress(BerthError):
        await commands.delete(launch.handler, launch.id, force=True)
    for directory, names in (
        (launch.bundle, _BUNDLE_FILES),
        (launch.persist, _PERSIST_FILES),
    ):
        for name in names:
            (directory / name).unlink(missing_ok=True)
    if launch.log is not None:
        _remove_empty(Path(launch.log))


def _remove_empty(log: Path) -> None:
    """A log that conmon made and nothing was written to; one of an earlier attempt stays."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if log.stat().st_size == 0:
            log.unlink()


async def _end(pidfd: int, grace: float) -> None:
    """Wait `grace` seconds for conmon's end, then kill it; reap it where it is ours."""
    try:
        async with asyncio.timeout(grace):
            await processes.wait_pidfd(pidfd)
    except TimeoutError:
        processes.send_signal(pidfd, signal.SIGKILL)
        await processes.wait_pidfd(pidfd)
    subreaper.reap(pidfd)
