"""A client that speaks WebSocket: its connection, its channels as streams."""

from collections.abc import Iterator

from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from cri_shim.streaming.client_streams import Backlog, ClientStream, StreamClosed
from cri_shim.streaming.connection import Connection
from cri_shim.streaming.limits import CHUNK
from cri_shim.wire.websocket_channels import (
    ChannelClosed,
    ChannelData,
    ChannelError,
    ChannelReader,
    encode,
)


def received(socket: WebSocket, data: memoryview) -> Iterator[Event]:
    """The events of bytes from the client; RemoteProtocolError for what is no WebSocket frame."""
    # wsproto unmasks and checks UTF-8; it keeps what it is given, and the buffer is shared.
    socket.receive_data(bytes(data))
    yield from socket.events()


class WebSocketEndpoint:
    """Messages of one connection. Streams are made with `channel`, before `receive` sees bytes."""

    def __init__(self, connection: Connection, base64: bool, closes: bool) -> None:
        self.connection = connection
        self.base64 = base64
        self._socket = WebSocket(ConnectionType.SERVER)
        self._reader = ChannelReader(base64, closes)
        self._backlog = Backlog(connection)
        self._streams: dict[int, ChannelStream] = {}
        connection.receiver = self.receive
        # A pong that nobody asked for needs no reply (RFC 6455, 5.5.3): a ping would need one, from
        # a client that is stuck.
        connection.keepalive = self._socket.send(Pong())

    def channel(self, channel: int, reads: bool) -> "ChannelStream":
        """The stream of a channel; with `reads` false what the client sends on it is dropped."""
        stream = ChannelStream(self, self._backlog, channel)
        if not reads:
            stream.intake.discard()
        self._streams[channel] = stream
        return stream

    def receive(self, data: memoryview) -> None:
        """Bytes from the client, at once."""
        try:
            for event in received(self._socket, data):
                self._handle(event)
        except RemoteProtocolError as error:
            self._fail(CloseReason.PROTOCOL_ERROR, str(error))
        except ChannelError as error:
            self._fail(CloseReason.UNSUPPORTED_DATA, str(error))

    def send(self, channel: int, payload: bytes | memoryview) -> None:
        """One message of a channel."""
        # A whole message for each piece: clients take message boundaries for nothing, and an empty
        # one is harmless to all of them.
        message = encode(channel, payload, self.base64)
        event: Event
        event = TextMessage(message.decode("ascii")) if self.base64 else BytesMessage(message)
        self._send(event)

    async def finish(self) -> None:
        """Close normally after all that was queued."""
        # Code 1000: kubectl takes any other for a broken connection, whatever the Status said.
        self._send(CloseConnection(CloseReason.NORMAL_CLOSURE))
        for stream in self._streams.values():
            stream.intake.discard()
        await self.connection.finish()

    def _handle(self, event: Event) -> None:
        match event:
            case BytesMessage(data=data, message_finished=end):
                self._take(data, end)
            case TextMessage(data=text, message_finished=end):
                self._take(text.encode(), end)
            case Ping():
                self._send(event.response())
            case CloseConnection():
                self._send(event.response())
                self.connection.close_soon()
            case _:
                pass

    def _take(self, data: bytes | bytearray, end: bool) -> None:
        for item in self._reader.feed(data, end):
            stream = self._streams.get(item.channel)
            if stream is None:
                raise ChannelError(f"there is no channel {item.channel}")
            match item:
                case ChannelData(_, payload):
                    stream.intake.push(memoryview(payload))
                case ChannelClosed():
                    stream.intake.end()

    def _fail(self, code: CloseReason, reason: str) -> None:
        # A close frame is a control frame: 125 bytes at most, two of them the code (RFC 6455, 5.5).
        self._send(CloseConnection(code, reason[:120]))
        self.connection.close_soon()

    def _send(self, event: Event) -> None:
        try:
            self.connection.write(self._socket.send(event))
        except LocalProtocolError:
            pass  # the closing handshake has begun: nothing more may be said


class ChannelStream(ClientStream):
    """One channel. It has no end of its own: that of the connection, or version 5's close.

    Nor has it a window: TCP's is the only brake, for all channels together.
    """

    def __init__(self, endpoint: WebSocketEndpoint, backlog: Backlog, channel: int) -> None:
        super().__init__(backlog, lambda _length: None)
        self._endpoint = endpoint
        self._channel = channel

    async def ready(self) -> int:
        await self._endpoint.connection.drain()
        if self._endpoint.connection.gone.is_set():
            raise StreamClosed("the client left")
        return CHUNK

    def send_now(self, payload: bytes | memoryview) -> None:
        self._endpoint.send(self._channel, payload)

    def finish(self) -> None:
        pass

    def reset(self) -> None:
        self.intake.discard()
