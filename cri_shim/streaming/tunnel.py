"""SPDY inside a WebSocket: the bytes of a SPDY session as binary messages, cut anywhere.

kubectl's port-forward does this (KEP-4006): one WebSocket must carry any number of forwarded
connections, and channels are numbered when the request is made. To the SPDY endpoint it is a
connection like any other.
"""

from collections.abc import Sequence

from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from cri_shim.streaming.spdy_endpoint import SpdyEndpoint
from cri_shim.streaming.websocket_endpoint import received


class Tunnel:
    """Stands between a SPDY endpoint and its connection."""

    def __init__(self, endpoint: SpdyEndpoint) -> None:
        self._endpoint = endpoint
        self._connection = endpoint.connection
        self._socket = WebSocket(ConnectionType.SERVER)
        self._connection.receiver = self.receive
        self._connection.framing = self._wrap
        self._connection.keepalive = self._socket.send(Pong())

    def receive(self, data: memoryview) -> None:
        """WebSocket frames from the client, at once. Where a message ends means nothing to SPDY."""
        try:
            for event in received(self._socket, data):
                self._handle(event)
        except RemoteProtocolError as error:
            self._close(CloseReason.PROTOCOL_ERROR, str(error))

    def _handle(self, event: Event) -> None:
        match event:
            case BytesMessage(data=data):
                self._endpoint.receive(memoryview(data))
            case TextMessage():
                self._close(CloseReason.UNSUPPORTED_DATA, "SPDY comes in binary messages")
            case Ping():
                self._connection.write_raw(self._bytes(event.response()))
            case CloseConnection():
                self._connection.write_raw(self._bytes(event.response()))
                self._connection.close_soon()
            case _:
                pass

    def _wrap(self, parts: Sequence[bytes | memoryview]) -> bytes:
        return self._bytes(BytesMessage(b"".join(parts)))

    def _close(self, code: CloseReason, reason: str) -> None:
        self._connection.write_raw(self._bytes(CloseConnection(code, reason[:120])))
        self._connection.close_soon()

    def _bytes(self, event: Event) -> bytes:
        """The frame; nothing once the closing handshake has begun (RFC 6455, 5.5.1)."""
        try:
            return self._socket.send(event)
        except LocalProtocolError:
            return b""
