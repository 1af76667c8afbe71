"""The HTTP request that becomes a SPDY or WebSocket connection, and our reply to it.

A URL is used for one upgrade: GET for WebSocket (RFC 6455), POST by Go's SPDY client, whose
sub-protocols come in `X-Stream-Protocol-Version`, one header each, best first.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TypeVar

import h11
from wsproto.utilities import generate_accept_token

from cri_shim.streaming.connection import Connection

_MAX_HEAD = 16 * 1024  # a proxy may add headers; nothing honest comes near

_Head = TypeVar("_Head", h11.Response, h11.InformationalResponse)
Fields = Iterable[tuple[str, str]]


class Wire(Enum):
    """What the client wants to speak."""

    SPDY = "SPDY/3.1"
    WEBSOCKET = "websocket"


class Refused(Exception):
    """The request gets this HTTP status and text, and the connection ends."""

    def __init__(self, status: int, text: str, fields: Fields = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.fields = tuple(fields)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A request to leave HTTP."""

    path: str
    wire: Wire
    protocols: tuple[str, ...]
    """Sub-protocols the client offers, in its order."""
    websocket_key: bytes = b""


class Handshake:
    """HTTP/1.1 on one connection, for one request. Reading is paused once it is complete."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self._request: asyncio.Future[h11.Request]
        self._request = asyncio.get_running_loop().create_future()
        self._seen: h11.Request | None = None
        connection.receiver = self._receive

    async def upgrade(self) -> Upgrade:
        """The request; Refused where it cannot be granted whatever its path."""
        return _read_upgrade(await self._request)

    def accept(self, upgrade: Upgrade, protocol: str) -> bytes:
        """Reply 101. Bytes that came behind the request; resume "handshake" when they are fed."""
        fields = [("Connection", "Upgrade"), ("Upgrade", upgrade.wire.value)]
        match upgrade.wire:
            case Wire.SPDY:
                name = "X-Stream-Protocol-Version"
            case Wire.WEBSOCKET:
                name = "Sec-WebSocket-Protocol"
                accept = generate_accept_token(upgrade.websocket_key).decode()
                fields.append(("Sec-WebSocket-Accept", accept))
        if protocol:
            fields.append((name, protocol))
        self._send(_head(h11.InformationalResponse, 101, fields))
        # A client need not wait for the 101 with its first frames: they came with the request.
        behind, _ = self._http.trailing_data
        return behind

    def refuse(self, refusal: Refused) -> None:
        """Reply with an error text."""
        body = (refusal.text + "\n").encode()
        fields = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            *refusal.fields,
        ]
        try:
            self._send(_head(h11.Response, refusal.status, fields))
            self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            pass  # h11 has given up on this client: it only gets the end of the connection

    def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            self._connection.write_raw(data)

    def _receive(self, data: memoryview) -> None:
        self._http.receive_data(bytes(data))
        try:
            self._read_events()
        except h11.RemoteProtocolError as error:
            self._complete(Refused(error.error_status_hint, f"bad HTTP request: {error}"))

    def _read_events(self) -> None:
        while True:
            match self._http.next_event():
                case h11.Request() as request:
                    self._seen = request
                case h11.EndOfMessage():
                    self._complete(None)
                    return
                case h11.Data():
                    continue
                case _:
                    return

    def _complete(self, problem: Refused | None) -> None:
        # What follows is not HTTP: no more of it may come into h11 than the same read brought.
        self._connection.pause_reading("handshake")
        if self._request.done():
            return
        if problem is None and self._seen is not None:
            self._request.set_result(self._seen)
        else:
            self._request.set_exception(problem or Refused(400, "bad HTTP request"))


def _head(kind: type[_Head], status: int, fields: Fields) -> _Head:
    reason = HTTPStatus(status).phrase
    return kind(status_code=status, headers=list(fields), reason=reason.encode())


def _read_upgrade(request: h11.Request) -> Upgrade:
    if request.method not in (b"GET", b"POST"):
        raise Refused(405, "use GET or POST", [("Allow", "GET, POST")])
    path = request.target.split(b"?")[0].decode("latin-1")
    tokens = _tokens(request, b"upgrade")
    if "upgrade" not in _tokens(request, b"connection"):
        raise Refused(400, "unable to upgrade: missing upgrade headers in request")
    if "spdy/3.1" in tokens:
        return Upgrade(path, Wire.SPDY, _values(request, b"x-stream-protocol-version"))
    if "websocket" in tokens:
        return _read_websocket(request, path)
    raise Refused(400, "unable to upgrade: this server speaks SPDY/3.1 and websocket")


def _read_websocket(request: h11.Request, path: str) -> Upgrade:
    # RFC 6455, 4.2.1. The version goes into the refusal, so that a newer client can try again.
    keys = [value for name, value in request.headers if name == b"sec-websocket-key"]
    if _values(request, b"sec-websocket-version") != ("13",):
        fields = [("Sec-WebSocket-Version", "13")]
        raise Refused(400, "unable to upgrade: this server speaks WebSocket version 13", fields)
    if len(keys) != 1 or request.method != b"GET":
        raise Refused(400, "unable to upgrade: a WebSocket needs GET and one Sec-WebSocket-Key")
    protocols = _values(request, b"sec-websocket-protocol")
    return Upgrade(path, Wire.WEBSOCKET, protocols, bytes(keys[0]))


def _values(request: h11.Request, wanted: bytes) -> tuple[str, ...]:
    """Members of a header that may be repeated and may hold lists."""
    # RFC 9110, 5.3: a repeated header and one with a comma list mean the same. Go's SPDY client
    # repeats, WebSocket clients list.
    texts = [value.decode("latin-1") for name, value in request.headers if name == wanted]
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


def _tokens(request: h11.Request, wanted: bytes) -> tuple[str, ...]:
    return tuple(value.lower() for value in _values(request, wanted))
