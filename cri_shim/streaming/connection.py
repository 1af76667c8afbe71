"""One client connection: bytes both ways, with brakes both ways, TLS or not.

Bytes that come in go to `receiver` at once, in a buffer which all connections share: nothing of it
may be kept. Bytes that go out wait in the transport, up to WRITE_HIGH before `drain` stops senders.

Why brakes both ways. A client that does not read would let the transport's buffer grow by what the
command writes, without end; a command that does not read would do the same to what the client
sends. So output stops at WRITE_HIGH, input at INPUT_HIGH, and input also when replies to it (pings,
window updates) pile up unread. Any number of stuck streams then costs a bounded amount of memory,
and the pressure reaches the process or the client by its pipe or TCP window, where it belongs.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from berth.linux.tasks import Tasks
from cri_shim.streaming.hangup import HangupWatch
from cri_shim.streaming.limits import RECEIVE, WRITE_HIGH, WRITE_LIMIT, WRITE_LOW, Limits

Receiver = Callable[[memoryview], None]
Framing = Callable[[Sequence[bytes | memoryview]], bytes]


class Scratch:
    """A buffer that synchronous work borrows between two awaits, so that idle streams own none."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._view = memoryview(bytearray(size))

    def borrow(self) -> memoryview:
        return self._view

    def given_away(self) -> None:
        """Somebody still refers to the buffer: take another.

        From Python 3.12 on a transport keeps a view of what it could not send at once, where 3.11
        copied it: writing into the same buffer would change bytes that are already queued.
        """
        self._view = memoryview(bytearray(self._size))


class Connection(asyncio.BufferedProtocol):
    """Lives from accept to the end; `gone` is set when there is no client any more."""

    def __init__(
        self,
        limits: Limits,
        inbox: Scratch,
        watch: HangupWatch,
        connected: Callable[["Connection"], None],
    ) -> None:
        self._limits = limits
        # One buffer for all: each call of `receiver` takes or copies its bytes before it returns,
        # so that a thousand idle clients cost a thousand sockets and not 256 MiB.
        self._inbox = inbox
        self._watch = watch
        self._connected = connected
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._fd = -1
        self._pauses: set[str] = set()
        self._writable = asyncio.Event()
        self._writable.set()
        self._last_active = self._loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._keepalive_timer: asyncio.TimerHandle | None = None
        self._ending = False
        self.keepalive = b""
        """Bytes that the peer's protocol ignores; the endpoint sets them."""
        self.receiver: Receiver = _ignore
        self.framing: Framing | None = None
        """What `write` is given goes through it."""
        self.on_lost: Callable[[], object] = _nothing
        self.gone = asyncio.Event()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Two marks, not one: with one, a sender would be woken for every few bytes that go out.
        self._transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        raw: socket.socket = transport.get_extra_info("socket")
        self._fd = raw.fileno()
        self._check_idle()
        self._connected(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._inbox.borrow()

    def buffer_updated(self, nbytes: int) -> None:
        self._last_active = self._loop.time()
        self.receiver(self._inbox.borrow()[:nbytes])
        # Only the endpoint's own replies come here unbraked (echoes of pings, window updates): what
        # copiers send waits in `drain`.
        if self._transport.get_write_buffer_size() > WRITE_LIMIT:
            self.pause_reading("output")

    def eof_received(self) -> bool:
        """Neither SPDY nor WebSocket has a use for half of a TCP connection: the client left.

        Half-close exists one level above: FIN of a SPDY stream, the close message of v5 channels.
        """
        if not self._ending:
            self.abort()
        return False

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        self.resume_reading("output")

    def connection_lost(self, _exc: Exception | None) -> None:
        for timer in (self._idle_timer, self._keepalive_timer):
            if timer:
                timer.cancel()
        self._watch.unwatch(self._fd)
        self.receiver = _ignore
        self.gone.set()
        self._writable.set()
        # Last, for it may cancel the task that is woken by the events above.
        self.on_lost()

    # Our side

    def write(self, *parts: bytes | memoryview) -> None:
        """Queue bytes; they are sent or copied before this returns, but see `Scratch`."""
        self._last_active = self._loop.time()
        if self.framing is not None:
            self.write_raw(self.framing(parts))
        elif not self.gone.is_set():
            self._transport.writelines(parts)

    def write_raw(self, data: bytes) -> None:
        """Queue bytes as they are, whatever the framing."""
        if not self.gone.is_set():
            self._transport.write(data)

    @property
    def unsent(self) -> int:
        """Bytes which wait in the transport."""
        return 0 if self.gone.is_set() else self._transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until the client has read enough, or is gone."""
        # A loop: before this task runs again another sender may have filled the buffer.
        while not self._writable.is_set():
            await self._writable.wait()

    def pause_reading(self, reason: str) -> None:
        """Do not read until every reason is taken back; a hang-up is noticed all the same."""
        # Reasons are counted apart: input that is stuck must not start again because output, which
        # was stuck too, went on. A paused transport asks the kernel for nothing, not even for the
        # peer's end: hence the watch, and the keepalive for what the kernel cannot see.
        if not self._pauses and not self.gone.is_set():
            self._transport.pause_reading()
            self._watch.watch(self._fd, self.abort)
            self._keepalive_later()
        self._pauses.add(reason)

    def resume_reading(self, reason: str) -> None:
        if self._pauses == {reason} and not self.gone.is_set():
            self._watch.unwatch(self._fd)
            if self._keepalive_timer:
                self._keepalive_timer.cancel()
            self._transport.resume_reading()
        self._pauses.discard(reason)

    def abort(self) -> None:
        """End at once; `gone` follows."""
        self._watch.unwatch(self._fd)
        self._transport.abort()

    def close_soon(self) -> None:
        """End after what is queued has gone out, at most `linger` later; `gone` follows."""
        # `close` sends what is queued first; a client that does not read would keep it for ever.
        self.receiver = _ignore
        self._transport.close()
        self._loop.call_later(self._limits.linger, self._transport.abort)

    async def finish(self) -> None:
        """Send what is queued, shut our half, and give the client time to take all of it.

        Closing with input unread would make the kernel send a reset, and that destroys output
        which the client has not read yet. So read on until the client hangs up.
        """
        self._ending = True
        self.receiver = _ignore
        for reason in tuple(self._pauses):
            self.resume_reading(reason)
        # TLS cannot shut one half (asyncio says so here); its close does not lose what is queued.
        if self._transport.can_write_eof() and not self.gone.is_set():
            self._transport.set_write_buffer_limits(0)  # "writable" now means: all is sent
            await self._writable.wait()
            if not self.gone.is_set():
                # ENOTCONN: the client reset the connection, and the loop has not told us yet.
                with contextlib.suppress(OSError):
                    self._transport.write_eof()
            try:
                async with asyncio.timeout(self._limits.linger):
                    await self.gone.wait()
            except TimeoutError:
                pass
        self._transport.close()
        await self.gone.wait()

    def _keepalive_later(self) -> None:
        self._keepalive_timer = self._loop.call_later(self._limits.keepalive, self._send_keepalive)

    def _send_keepalive(self) -> None:
        """Find out whether a peer that we do not read is still there.

        Its end of file cannot even reach our kernel while its own unsent bytes are before it. But
        a closed socket replies to any bytes of ours with a reset, and that we see.
        """
        if self.keepalive and not self.unsent:
            self._transport.write(self.keepalive)
        self._keepalive_later()

    def _check_idle(self) -> None:
        # One timer that looks at a time, not one that each read and write moves: those come by
        # the thousand a second.
        rest = self._last_active + self._limits.idle_timeout - self._loop.time()
        if rest <= 0:
            self.abort()
            return
        self._idle_timer = self._loop.call_later(rest, self._check_idle)


def new_inbox() -> Scratch:
    """The buffer which all connections of a server receive into."""
    return Scratch(RECEIVE)


def _ignore(_data: memoryview) -> None:
    pass


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Client:
    """One client's connection, and what serving it needs of the server."""

    connection: Connection
    limits: Limits
    scratch: Scratch
    tasks: Tasks
    """Of the server: what must be finished even when the client is gone."""
