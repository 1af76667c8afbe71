"""Running commands in a container: to the end with a bound (ExecSync), or with streams (Exec)."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Mapping
from typing import Any

from berth.base.errors import DeadlineExceeded, RuntimeFailure
from berth.linux.processes import Result
from cri_shim.runtime import detached_exec, messages, terminals
from cri_shim.runtime.detached_exec import Detached, Refused
from cri_shim.runtime.handler import Handler
from cri_shim.runtime.output import Collector, pipe_from_child, read_rest

OUTPUT_CAP = 16 << 20
"""Bytes kept of each stream of ExecSync; the rest is dropped (as kubelet expects)."""
_DRAIN = 0.25
"""Seconds to read on after the process ended, where background children have the pipes open."""
_START_TIMEOUT = 60.0
_PIPE_SIZE = 1 << 18
"""Bytes; with the kernel's default of 64 KiB a long stream takes half as long again."""


async def exec_sync(
    handler: Handler,
    id: str,
    process: Mapping[str, Any],
    timeout: float | None,
    cap: int = OUTPUT_CAP,
) -> Result:
    """Run an OCI process in container `id` to its end.

    RuntimeFailure gives the runtime's message where it could not start. After `timeout` seconds
    (None or 0: never) the process, its session and its descendants are killed and
    DeadlineExceeded is raised. Its background children live on, but their output is not waited
    for.
    """
    with contextlib.ExitStack() as stack:
        out_read, out_write = pipe_from_child(stack)
        err_read, err_write = pipe_from_child(stack)
        # Both are read all the time, whatever is kept: a command that fills one pipe while we wait
        # on the other would never end.
        output, errors = Collector(out_read, cap), Collector(err_read, cap)
        try:
            async with asyncio.timeout(timeout or None):
                code = await _run(handler, id, process, out_write, err_write, stack)
            await read_rest([output, errors], _DRAIN)
        except TimeoutError:
            raise DeadlineExceeded(
                f"command {_shown(process)} in container {id} ran longer than {timeout:g} s"
                " and was killed"
            ) from None
        except Refused as refusal:
            raise _failure(handler, id, process, errors, refusal) from None
        finally:
            output.close()
            errors.close()
        return Result(code, bytes(output.data), bytes(errors.data))


async def _run(
    handler: Handler,
    id: str,
    process: Mapping[str, Any],
    stdout: int,
    stderr: int,
    child_ends: contextlib.ExitStack,
) -> int:
    started = await detached_exec.start(
        handler, id, process, stdin=None, stdout=stdout, stderr=stderr
    )
    # Our copies of the write ends, or the pipes would never come to their end.
    child_ends.close()
    try:
        return await started.wait()
    except asyncio.CancelledError:
        # Timeout or a client that left: the processes must not outlive the call, for nobody could
        # learn of them any more.
        started.kill()
        raise


class ExecProcess:
    """A process with streams: descriptors that do not block, closed by this object alone.

    On a terminal `stdin` and `stdout` are two descriptors of the master, and `stderr` is None;
    reading the master gives EIO once no process has the terminal open. Streams that were not
    asked for are None.
    """

    def __init__(
        self,
        started: Detached,
        stdin: int | None,
        stdout: int | None,
        stderr: int | None,
        discarded: Collector | None = None,
    ) -> None:
        """`discarded` reads a stderr that nobody asked for."""
        self._discarded = discarded
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._started = started

    @property
    def pid(self) -> int:
        return self._started.pid

    async def wait(self) -> int:
        """The exit code; 128 + n where signal n killed it. Output may still lie in the pipes."""
        return await self._started.wait()

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters; without a terminal nothing happens."""
        if self.stderr is None and self.stdout is not None:
            terminals.set_size(self.stdout, width, height)

    def close_stdin(self) -> None:
        """End of input. A terminal has none: its program sees the end when the terminal goes."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    async def close(self) -> None:
        """Kill what still runs (its session and descendants), and close the streams.

        Readers and writers must have been taken out of the event loop before.
        """
        # Killed before its pipes are closed: the other way round SIGPIPE could come first.
        self._started.kill()
        for fd in (self.stdin, self.stdout, self.stderr):
            if fd is not None:
                os.close(fd)
        self.stdin = self.stdout = self.stderr = None
        if self._discarded is not None:
            self._discarded.close()
        await self._started.wait()


async def start_exec(
    handler: Handler,
    id: str,
    process: Mapping[str, Any],
    terminal: bool,
    stdin: bool,
    stdout: bool,
    stderr: bool,
) -> ExecProcess:
    """Start an OCI process in container `id`; RuntimeFailure where the runtime would not."""
    async with asyncio.timeout(_START_TIMEOUT):
        if terminal:
            return await _start_on_terminal(handler, id, process)
        return await _start_on_pipes(handler, id, process, stdin, stdout, stderr)


async def _start_on_pipes(
    handler: Handler, id: str, process: Mapping[str, Any], stdin: bool, stdout: bool, stderr: bool
) -> ExecProcess:
    with contextlib.ExitStack() as child_ends, contextlib.ExitStack() as on_error:
        in_fd, in_child = _pipe(child_ends, on_error, to_child=True) if stdin else (None, None)
        out_fd, out_child = _pipe(child_ends, on_error) if stdout else (None, None)
        err_fd, err_child = _pipe(child_ends, on_error)
        try:
            started = await detached_exec.start(
                handler, id, process, stdin=in_child, stdout=out_child, stderr=err_child
            )
        except Refused as refusal:
            raise _failure(
                handler, id, process, Collector(os.dup(err_fd), 1 << 14), refusal
            ) from None
        on_error.pop_all()  # from here on our ends belong to the ExecProcess
        if stderr:
            return ExecProcess(started, in_fd, out_fd, err_fd)
        # The pipe was for the runtime's messages. Closed now, it would kill a process that writes
        # to its stderr, by SIGPIPE.
        return ExecProcess(started, in_fd, out_fd, None, Collector(err_fd, 0))


def _pipe(
    child_ends: contextlib.ExitStack, on_error: contextlib.ExitStack, to_child: bool = False
) -> tuple[int, int]:
    """(our end, the child's end) of a wide pipe; ours does not block."""
    read, write = os.pipe2(os.O_CLOEXEC)
    # EPERM: this user's pipes together reach /proc/sys/fs/pipe-user-pages-soft; narrow ones work.
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    ours, theirs = (write, read) if to_child else (read, write)
    child_ends.callback(os.close, theirs)
    on_error.callback(os.close, ours)
    os.set_blocking(ours, False)
    return ours, theirs


async def _start_on_terminal(handler: Handler, id: str, process: Mapping[str, Any]) -> ExecProcess:
    with contextlib.ExitStack() as stack:
        err_read, err_write = pipe_from_child(stack)
        errors = Collector(err_read, 1 << 14)
        stack.callback(errors.close)
        console = terminals.ConsoleSocket(detached_exec.unique(handler, "sock"))
        stack.callback(console.close)
        # stderr is a pipe for the runtime's own messages; the process has the terminal alone.
        document = {**process, "terminal": True}
        try:
            started = await detached_exec.start(
                handler,
                id,
                document,
                stdin=None,
                stdout=None,
                stderr=err_write,
                console=console.path,
            )
        except Refused as refusal:
            raise _failure(handler, id, process, errors, refusal) from None
        try:
            master = console.receive()
        except RuntimeFailure:
            started.kill()
            raise
        # Two descriptors, so that stdin can be closed and each be registered in the event loop:
        # epoll takes one registration for a descriptor, for reading and writing together.
        return ExecProcess(started, os.dup(master), master, None)


def _failure(
    handler: Handler, id: str, process: Mapping[str, Any], errors: Collector, refusal: Refused
) -> RuntimeFailure:
    errors.drain()
    errors.close()
    message = messages.plain(bytes(errors.data)) or f"exit code {refusal.code} and no message"
    return RuntimeFailure(
        f"cannot run {_shown(process)} in container {id}: {handler.kind}: {message}"
    )


def _shown(process: Mapping[str, Any]) -> str:
    args = process.get("args") or [""]
    return repr(str(args[0]))
