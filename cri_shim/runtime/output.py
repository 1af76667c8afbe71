"""The output of a program, read from pipes with a bound on what is kept."""

import asyncio
import contextlib
import os

_CHUNK = 1 << 16


class Collector:
    """The read end of one pipe: keeps the first `cap` bytes and drops the rest.

    What is dropped is still read, so that the writer never stalls. Owns the descriptor.
    """

    def __init__(self, fd: int, cap: int) -> None:
        self.data = bytearray()
        self._fd = fd
        self._cap = cap
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        # Level-triggered: one read for each wake-up is enough, and other readers get their share.
        self._loop.add_reader(fd, self._read)

    def _read(self) -> bool:
        """Read once; False where there is nothing now, or no more at all."""
        try:
            chunk = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self.close()
            return False
        room = self._cap - len(self.data)
        if room > 0:
            self.data += chunk if len(chunk) <= room else chunk[:room]
        return True

    def drain(self) -> None:
        """Take what lies in the pipe: at most its capacity, though others may go on writing.

        64 reads of 64 KiB are more than /proc/sys/fs/pipe-max-size lets a pipe hold (1 MiB).
        """
        for _ in range(64):
            if self.ended.done() or not self._read():
                return

    def close(self) -> None:
        if not self.ended.done():
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self.ended.set_result(None)


async def read_rest(collectors: list[Collector], seconds: float) -> None:
    """The writer ended: take the rest, and wait a little for others that have the pipes open."""
    for collector in collectors:
        collector.drain()
    open_ends = [c.ended for c in collectors if not c.ended.done()]
    if open_ends:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait(open_ends, timeout=seconds)
        for collector in collectors:
            collector.drain()  # what came between the timeout and now
            collector.close()


def pipe_from_child(stack: contextlib.ExitStack) -> tuple[int, int]:
    """(our end, not blocking; the child's end, which closes with the stack)."""
    # Only our end: O_NONBLOCK belongs to the open file, which the child would share, and programs
    # do not expect EAGAIN from their stdout.
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    stack.callback(os.close, write)
    return read, write
