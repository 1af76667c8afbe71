"""The pipes of a program that is run to its end: written and read by the event loop."""

import asyncio
import contextlib
import os


class Streams:
    """The three pipes of a program; both ends close with the stack.

    Without input there is no pipe for it: the program's stdin is /dev/null.
    """

    def __init__(self, data: bytes, limit: int, stack: contextlib.ExitStack) -> None:
        self._child_ends: list[int] = []
        self.child_stdin: int | None = None
        self._writer: _Writer | None = None
        if data:
            self.child_stdin, parent = self._pipe(child_reads=True)
            self._writer = _Writer(parent, data)
            stack.callback(self._writer.close)
        self.child_stdout, parent = self._pipe(child_reads=False)
        self.stdout = _Reader(parent, limit)
        stack.callback(self.stdout.close)
        self.child_stderr, parent = self._pipe(child_reads=False)
        self.stderr = _Reader(parent, limit)
        stack.callback(self.stderr.close)
        stack.callback(self.started)

    def _pipe(self, child_reads: bool) -> tuple[int, int]:
        """A new pipe as (the child's end, our non-blocking end)."""
        read, write = os.pipe2(os.O_CLOEXEC)
        child, parent = (read, write) if child_reads else (write, read)
        # Only ours: non-blocking is a property of the open file, and a program does not expect it.
        os.set_blocking(parent, False)
        self._child_ends.append(child)
        return child, parent

    def started(self) -> None:
        """Close the child's ends in this process, else its end of file would never be seen."""
        while self._child_ends:
            os.close(self._child_ends.pop())

    async def drain(self, seconds: float) -> None:
        """Wait for the end of both outputs, but not for a grandchild that keeps them open."""
        ends = [reader.ended for reader in (self.stdout, self.stderr) if not reader.ended.done()]
        if ends:
            await asyncio.wait(ends, timeout=seconds)


class _Reader:
    """Collects what comes out of a pipe up to a limit, and drops the rest.

    It reads on beyond the limit: a full pipe would stop the program, a closed one kill it.
    """

    def __init__(self, fd: int, limit: int) -> None:
        self.data = bytearray()
        self._fd = fd
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(fd, self._read)

    def _read(self) -> None:
        try:
            chunk = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return
        self.data += chunk[: self._limit - len(self.data)]
        if not chunk:
            self.close()

    def close(self) -> None:
        if not self.ended.done():
            # First out of epoll, then closed: the number may be another file's right afterwards.
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self.ended.set_result(None)


class _Writer:
    """Writes into a pipe, then closes it; a program that does not read its input is fine."""

    def __init__(self, fd: int, data: bytes) -> None:
        self._fd = fd
        self._rest = memoryview(data)
        self._open = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_writer(fd, self._write)

    def _write(self) -> None:
        try:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # Python ignores SIGPIPE
            self._rest = self._rest[:0]
        if not self._rest:
            self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
