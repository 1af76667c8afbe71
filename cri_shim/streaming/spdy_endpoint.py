"""A client that speaks SPDY/3.1: its connection, and its streams as `ClientStream`s."""

import asyncio
from collections.abc import Callable

from cri_shim.streaming.client_streams import Backlog, ClientStream, StreamClosed
from cri_shim.streaming.connection import Connection
from cri_shim.wire import spdy_events as events
from cri_shim.wire.spdy_frames import ResetStatus, Settings
from cri_shim.wire.spdy_headers import Headers
from cri_shim.wire.spdy_session import SpdySession
from cri_shim.wire.spdy_streams import StreamGone

Offered = Callable[["SpdyStream", Headers], bool]
"""Asked for each stream the client opens; False refuses it."""


class SpdyEndpoint:
    """Frames of one connection. `offered` decides about streams."""

    def __init__(self, connection: Connection, offered: Offered) -> None:
        self.connection = connection
        self._offered = offered
        self._session = SpdySession()
        self._backlog = Backlog(connection)
        self._streams: dict[int, SpdyStream] = {}
        connection.receiver = self.receive
        # Not a ping: a Go client whose writes are stuck would stop reading in order to reply to it.
        connection.keepalive = Settings(()).serialize()

    def receive(self, data: memoryview) -> None:
        """Bytes from the client, at once."""
        for event in self._session.receive_data(data):
            self._handle(event)
        # One write for all that these bytes brought about.
        self.flush()

    def stream(self, stream_id: int) -> "SpdyStream | None":
        return self._streams.get(stream_id)

    def flush(self) -> None:
        """Send the control frames which are due."""
        if due := self._session.data_to_send():
            self.connection.write(due)

    async def finish(self) -> None:
        """Say GOAWAY after all that was queued, and close."""
        # After everything else: Go's client stops reading frames at GOAWAY.
        self._session.go_away()
        self.flush()
        self.discard()
        await self.connection.finish()

    def discard(self) -> None:
        """Drop what the client sent and nobody took."""
        for stream in self._streams.values():
            stream.intake.discard()

    def _handle(self, event: events.Event) -> None:
        match event:
            case events.StreamOpened(stream_id, headers, fin):
                self._open(stream_id, headers, fin)
            case events.DataReceived(stream_id, payload, fin):
                # In the table: the session gives no data for a stream that was refused or reset.
                self._take(self._streams[stream_id], payload, fin)
            case events.StreamReset(stream_id):
                self._drop(stream_id)
            case events.HeadersReceived(stream_id, _, fin) if fin:
                self._streams[stream_id].intake.end()
            case events.WindowOpened(stream_id):
                for stream in (
                    self._streams.values() if stream_id == 0 else self._stream_list(stream_id)
                ):
                    stream.window.set()
            case events.SessionFailed():
                self.flush()
                self.connection.close_soon()
            case events.HeadersReceived():
                pass
            case events.PeerLeaving():
                pass  # a client that leaves ends its streams and hangs up by itself

    def _open(self, stream_id: int, headers: Headers, fin: bool) -> None:
        stream = SpdyStream(self, self._session, self._backlog, stream_id)
        # Entered only when it is wanted: what the client sends on a refused stream is dropped by
        # the session.
        if not self._offered(stream, headers):
            self._session.reset(stream_id, ResetStatus.REFUSED_STREAM)
            return
        self._streams[stream_id] = stream
        # A Go client throws away what comes before the reply: nothing may be sent earlier.
        self._session.accept(stream_id)
        if fin:
            stream.intake.end()

    def _take(self, stream: "SpdyStream", payload: memoryview, fin: bool) -> None:
        stream.intake.push(payload)
        if fin:
            stream.intake.end()
            self.forget_if_closed(stream.stream_id)

    def forget_if_closed(self, stream_id: int) -> None:
        """Both halves are finished: no event can come for this stream."""
        if not self._session.is_open(stream_id):
            self.forget(stream_id)

    def _drop(self, stream_id: int) -> None:
        if stream := self._streams.pop(stream_id, None):
            stream.closed()

    def _stream_list(self, stream_id: int) -> "list[SpdyStream]":
        stream = self._streams.get(stream_id)
        return [stream] if stream else []

    def forget(self, stream_id: int) -> None:
        """The stream needs no events any more."""
        self._streams.pop(stream_id, None)


class SpdyStream(ClientStream):
    """One SPDY stream."""

    def __init__(
        self, endpoint: SpdyEndpoint, session: SpdySession, backlog: Backlog, stream_id: int
    ) -> None:
        super().__init__(backlog, self._return_window)
        self._endpoint = endpoint
        self._session = session
        self.stream_id = stream_id
        self.window = asyncio.Event()

    async def ready(self) -> int:
        while True:
            await self._endpoint.connection.drain()
            gone = self._endpoint.connection.gone.is_set()
            if gone or not self._session.may_send(self.stream_id):
                raise StreamClosed(f"stream {self.stream_id} was closed by the client")
            if room := self._session.room(self.stream_id):
                return room
            # Cleared before the wait and set by every WINDOW_UPDATE; no await lies between the look
            # at the window and the clearing, so that no update is missed.
            self.window.clear()
            await self.window.wait()

    def send_now(self, payload: bytes | memoryview) -> None:
        # Control frames that are due go out before the data, then header and payload in one call:
        # a frame between the two would be taken for payload.
        try:
            header = self._session.data_header(self.stream_id, len(payload))
        except StreamGone as error:
            raise StreamClosed(str(error)) from error
        self._endpoint.flush()
        self._endpoint.connection.write(header, payload)

    def finish(self) -> None:
        self._session.finish(self.stream_id)
        self._endpoint.forget_if_closed(self.stream_id)
        self._endpoint.flush()
        self.window.set()

    def reset(self) -> None:
        self._session.reset(self.stream_id, ResetStatus.CANCEL)
        self._endpoint.forget(self.stream_id)
        self.intake.discard()
        self._endpoint.flush()
        self.window.set()

    def closed(self) -> None:
        """The client reset the stream."""
        self.intake.discard()
        self.window.set()
        if self.on_reset:
            self.on_reset()

    def _return_window(self, length: int) -> None:
        self._session.consumed(self.stream_id, length)
        self._endpoint.flush()
