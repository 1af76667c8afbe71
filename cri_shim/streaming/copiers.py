"""Descriptors of processes and sockets: read towards a client, written from a client."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable

from cri_shim.streaming.client_streams import ClientStream, StreamClosed
from cri_shim.streaming.connection import Connection, Scratch
from cri_shim.streaming.limits import AFTER_EXIT, CHUNK


class FdSink:
    """Writes a client's bytes to a non-blocking descriptor, at most `most` in one call."""

    def __init__(self, fd: int, end: Callable[[], None], most: int = 1 << 20) -> None:
        self.fd = fd
        self._end = end
        self._most = most

    def write(self, data: memoryview) -> int:
        return os.write(self.fd, data[: self._most])

    def end(self) -> None:
        self._end()


class OutputCopier:
    """Copies a non-blocking descriptor to a stream until its end.

    The bytes pass through a scratch buffer between two awaits: read, framed, given to the kernel.
    What the kernel does not take waits in the connection, and `ready` delays the next read.
    """

    def __init__(
        self, fd: int, stream: ClientStream, connection: Connection, scratch: Scratch, quiet: float
    ) -> None:
        self._fd = fd
        self._stream = stream
        self._connection = connection
        self._scratch = scratch
        self._quiet = quiet
        self._waiting: asyncio.Future[bool] | None = None
        self._rest_after_exit: int | None = None

    async def run(self) -> None:
        """End at end of file; OSError where the descriptor fails (a reset peer)."""
        try:
            while await self._step(await self._stream.ready()):
                # Nothing above need have waited: a process that writes fast and a client that reads
                # fast would keep the loop to themselves.
                await asyncio.sleep(0)
        except StreamClosed:
            await self._discard()

    def wind_down(self) -> None:
        """The process has ended: take what is there, and do not wait for its children.

        A pipe has no end while anybody holds its write end: `sh -c 'sleep 1000 &'` would keep the
        client for a thousand seconds.
        """
        self._rest_after_exit = AFTER_EXIT
        if self._waiting:
            self._give_up_later(self._waiting)

    async def _step(self, room: int) -> bool:
        """Copy one piece; False at the end."""
        view = self._scratch.borrow()[: min(room, CHUNK)]
        length = _read(self._fd, view)
        if length is None:
            return await self._readable()
        if length == 0:
            return False
        # `ready` said how much may be sent, and no await came since: nobody else used it up.
        self._stream.send_now(view[:length])
        if self._connection.unsent:
            self._scratch.given_away()
        return self._count(length)

    async def _discard(self) -> None:
        """Nobody listens: let the process write on, as into a closed terminal window."""
        # Reading on, not closing: SIGPIPE would kill a program that its user only stopped watching.
        going = True
        while going:
            length = _read(self._fd, self._scratch.borrow())
            if length is None:
                going = await self._readable()
            else:
                going = length > 0 and self._count(length)
            await asyncio.sleep(0)

    def _count(self, length: int) -> bool:
        if self._rest_after_exit is None:
            return True
        self._rest_after_exit -= length
        return self._rest_after_exit > 0

    async def _readable(self) -> bool:
        """Wait for input; False if, after the exit, none comes for a while."""
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        # Registered for one wait at a time: a level-triggered reader that stays would call back in
        # each turn of the loop while the client is slow.
        loop.add_reader(self._fd, _set_once, self._waiting, True)
        if self._rest_after_exit is not None:
            self._give_up_later(self._waiting)
        try:
            return await self._waiting
        finally:
            loop.remove_reader(self._fd)
            self._waiting = None

    def _give_up_later(self, waiting: "asyncio.Future[bool]") -> None:
        asyncio.get_running_loop().call_later(self._quiet, _set_once, waiting, False)


def shut(sock: socket.socket) -> None:
    """Send our end of file; a peer that reset the connection needs none."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _set_once(future: "asyncio.Future[bool]", value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _read(fd: int, view: memoryview) -> int | None:
    """Bytes read, 0 at the end, None if there are none now."""
    try:
        return os.readv(fd, [view])
    except BlockingIOError:
        return None
    except OSError as error:
        # A pty master says EIO once the last process has closed the terminal.
        if error.errno == errno.EIO:
            return 0
        raise
