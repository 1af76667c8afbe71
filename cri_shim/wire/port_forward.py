"""The port-forward protocol: pairs of a data and an error stream, one pair a TCP connection.

Over SPDY each stream carries the headers `streamType` (data or error), `port`, and `requestID`
naming the pair; clients from before Kubernetes 1.1 send no request id and open error, then data,
so that the ids of a pair are two apart.
Over WebSocket the request names the ports, port n has channels 2n and 2n+1, and the server's first
message on each is the port in two bytes, little-endian.
Source: Kubernetes `cri-streaming/pkg/streaming/portforward`.
"""

from dataclasses import dataclass
from enum import Enum

from cri_shim.wire.spdy_headers import Headers

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = f"SPDY/3.1+{SPDY_PROTOCOL}"
"""A WebSocket whose binary messages carry a SPDY session."""
WEBSOCKET_PROTOCOLS = {"v4.channel.k8s.io": False, "v4.base64.channel.k8s.io": True}
"""Name to whether payloads are base64. A client that names none speaks binary."""


class Half(Enum):
    DATA = "data"
    ERROR = "error"


class StreamRefused(Exception):
    """The headers of a stream make no sense; reset it."""


class HalfTaken(Exception):
    """A pair was offered the same half twice; `error_stream` (or None) is where to say so."""

    def __init__(self, message: str, error_stream: int | None) -> None:
        super().__init__(message)
        self.error_stream = error_stream


@dataclass(frozen=True, slots=True)
class Offer:
    """One stream of a pair, as its headers describe it."""

    half: Half
    port: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Pair:
    request_id: str
    port: int
    data_stream: int
    error_stream: int


def read_offer(stream_id: int, headers: Headers) -> Offer:
    """Raise StreamRefused for a port or a stream type that cannot be."""
    table = dict(headers)
    port = parse_port(table.get(b"port", b""))
    try:
        half = Half(table.get(b"streamtype", b"").decode("latin-1"))
    except ValueError:
        raise StreamRefused(f"stream {stream_id}: streamType must be data or error") from None
    request_id = table.get(b"requestid", b"").decode("latin-1")
    # The error stream came first, and ids go up by two.
    if not request_id:
        request_id = str(stream_id if half is Half.ERROR else stream_id - 2)
    return Offer(half, port, request_id)


def parse_port(text: bytes) -> int:
    """1 to 65535, in plain decimal digits."""
    # `isdigit` of bytes is ASCII's; int() alone would take " 80", "+80" and "8_0" too.
    if text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise StreamRefused(f"port {text[:20]!r} is not a number from 1 to 65535")


class PairTable:
    """Halves that wait for the other half."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[Half, int]] = {}
        self._ports: dict[str, int] = {}

    def add(self, stream_id: int, offer: Offer) -> Pair | None:
        """The pair if it is complete now, None if it waits; HalfTaken for a repeated half."""
        halves = self._waiting.setdefault(offer.request_id, {})
        if offer.half in halves:
            raise HalfTaken(
                f"error processing stream for request {offer.request_id}: "
                f"{offer.half.value} stream already assigned",
                halves.get(Half.ERROR),
            )
        halves[offer.half] = stream_id
        # The data stream's port counts, as in kubelet's server; that of the other is only checked.
        if offer.half is Half.DATA:
            self._ports[offer.request_id] = offer.port
        if len(halves) < 2:
            return None
        del self._waiting[offer.request_id]
        port = self._ports.pop(offer.request_id)
        return Pair(offer.request_id, port, halves[Half.DATA], halves[Half.ERROR])

    def waits(self, request_id: str) -> bool:
        return request_id in self._waiting

    def drop(self, request_id: str) -> tuple[int, ...]:
        """Forget an incomplete pair; the streams it had."""
        self._ports.pop(request_id, None)
        return tuple(self._waiting.pop(request_id, {}).values())

    def drop_stream(self, stream_id: int) -> None:
        """A waiting half was reset by its peer."""
        for request_id, halves in list(self._waiting.items()):
            if stream_id in halves.values():
                self.drop(request_id)


def port_preamble(port: int) -> bytes:
    """First message of the server on both WebSocket channels of a port."""
    return port.to_bytes(2, "little")
