"""One stream of a client: a SPDY stream or a WebSocket channel.

Towards the client a sender asks `ready` and then sends at most so much. From the client, bytes go
through an `Intake` to a sink; what the sink does not take yet counts against the connection's
`Backlog`, and a full backlog stops the reading of that connection.

The backlog is the connection's and not the stream's, because TCP has one receive window: the bytes
of the stream that is stuck and of the one that is not come in the same order they were sent in.
SPDY's own windows could part them, but Go's client keeps none (`wire.spdy_session`).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from cri_shim.streaming.connection import Connection
from cri_shim.streaming.limits import INPUT_HIGH, INPUT_LOW


class StreamClosed(Exception):
    """The client ended this stream: nothing can be sent on it."""


class Sink(Protocol):
    """Where a client's bytes go."""

    @property
    def fd(self) -> int:
        """What to poll for room when `write` raises BlockingIOError."""

    def write(self, data: memoryview) -> int:
        """Take some bytes; BlockingIOError for none now, another OSError for never more."""

    def end(self) -> None:
        """No more will come."""


class Backlog:
    """Bytes of one connection that wait for sinks."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.waiting = 0

    def add(self, length: int) -> None:
        self.waiting += length
        if self.waiting >= INPUT_HIGH:
            self._connection.pause_reading("input")

    def remove(self, length: int) -> None:
        self.waiting -= length
        if self.waiting < INPUT_LOW:
            self._connection.resume_reading("input")


class Intake:
    """What a client sends on one stream, on its way to a sink that is connected sooner or later."""

    def __init__(self, backlog: Backlog, consumed: Callable[[int], None]) -> None:
        self._backlog = backlog
        self._consumed = consumed
        self._queue = bytearray()
        self._sink: Sink | None = None
        self._polled = False
        self._ending = False
        self._discarding = False
        self.on_broken: Callable[[], None] | None = None
        """Called when the sink takes no more."""
        self.done = asyncio.Event()
        """The sink has had the client's end of file, or everything is discarded."""

    def push(self, data: memoryview) -> None:
        """Bytes from the client; they are taken or copied before this returns."""
        if self._discarding:
            self._consumed(len(data))
            return
        # Straight from the receive buffer to the kernel while the sink keeps up: the queue costs a
        # copy, and is only for what the sink does not take now.
        if not self._queue:
            data = data[self._offer(data) :]
        if data and not self._discarding:
            self._queue += data
            self._backlog.add(len(data))
            self._poll()

    def end(self) -> None:
        """The client sends no more."""
        # Half-close: `cat` must see the end of its input and go on to write its output. It comes
        # only after what is queued, or the tail would be lost.
        self._ending = True
        if not self._queue:
            self._finish()

    def connect(self, sink: Sink) -> None:
        """Let the bytes flow, those that wait first."""
        self._sink = sink
        self._flush()

    def discard(self) -> None:
        """Drop what waits and what will come; the sink is not used again."""
        # Bytes that are dropped count as consumed: otherwise the session's window would shrink with
        # each of them, until the other streams of the session could not send.
        self._unpoll()
        self._discarding = True
        self._drop(len(self._queue))
        self.done.set()

    def _offer(self, data: memoryview) -> int:
        taken = 0
        while self._sink and taken < len(data):
            try:
                length = self._sink.write(data[taken:])
            except BlockingIOError:
                break  # full: the loop tells when it can be written again
            except OSError:
                self._break()
                return len(data)
            # Window is returned for what the process has, not for what we have: so the client's
            # window measures the process's speed.
            self._consumed(length)
            taken += length
        return taken

    def _flush(self) -> None:
        with memoryview(self._queue) as waiting:
            taken = self._offer(waiting)
        if self._discarding:
            self._drop(len(self._queue))
            return
        if taken:
            del self._queue[:taken]
            self._backlog.remove(taken)
        if self._queue:
            self._poll()
            return
        self._unpoll()
        if self._ending:
            self._finish()

    def _finish(self) -> None:
        if self._sink and not self.done.is_set():
            self.done.set()
            self._sink.end()

    def _break(self) -> None:
        """The process closed its stdin, or the peer its socket: go on without it."""
        # EPIPE or ECONNRESET. For a command it is no error (`head -1` stops reading and goes on);
        # for a forwarded connection `on_broken` makes it a reset.
        self._unpoll()
        self._discarding = True
        self.done.set()
        if self.on_broken:
            self.on_broken()

    def _drop(self, length: int) -> None:
        if length:
            self._queue = bytearray()
            self._backlog.remove(length)
            self._consumed(length)

    def _poll(self) -> None:
        if self._sink and not self._polled:
            self._polled = True
            asyncio.get_running_loop().add_writer(self._sink.fd, self._flush)

    def _unpoll(self) -> None:
        if self._sink and self._polled:
            self._polled = False
            asyncio.get_running_loop().remove_writer(self._sink.fd)


class ClientStream(ABC):
    """One stream of a client."""

    def __init__(self, backlog: Backlog, consumed: Callable[[int], None]) -> None:
        self.intake = Intake(backlog, consumed)
        self.on_reset: Callable[[], None] | None = None
        """Called when the client ends the stream in both directions."""

    @abstractmethod
    async def ready(self) -> int:
        """Wait until something can be sent; how much. StreamClosed if never."""

    @abstractmethod
    def send_now(self, payload: bytes | memoryview) -> None:
        """Send at most what `ready` just allowed, with no await between."""

    @abstractmethod
    def finish(self) -> None:
        """We send no more on this stream. Safe at any time."""

    @abstractmethod
    def reset(self) -> None:
        """End the stream at once in both directions. Safe at any time."""

    async def send(self, payload: bytes) -> None:
        """Send all of it, however long that takes."""
        rest = memoryview(payload)
        while rest:
            room = await self.ready()
            self.send_now(rest[:room])
            rest = rest[room:]
