"""SPDY/3.1 frames as values: reading a control frame's body, writing any frame.

    control  1 | version (15) | type (16)          data  0 | stream id (31)
             flags (8) | length (24)                     flags (8) | length (24)

All numbers are big-endian. The first bit tells the two kinds apart; a stream id has 31 bits, and
the bit above it is ignored where it comes in. 5 is no type: NOOP was removed with SPDY/3.
Source: SPDY/3.1 draft, section 2.2 and 2.6.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

VERSION = 3
HEADER_SIZE = 8
MAX_CONTROL = 64 * 1024
"""Longest control frame that is read; the spec asks for at least 8 KiB."""
MAX_DATA = 2**24 - 1
FLAG_FIN = 0x01
FLAG_UNIDIRECTIONAL = 0x02

TWO_U32 = Struct(">II")
_SYN_STREAM = Struct(">IIBB")
_U32 = Struct(">I")
_ID = 0x7FFFFFFF


class FrameType(IntEnum):
    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class ResetStatus(IntEnum):
    """Why one stream ended (2.6.3)."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


class GoAwayStatus(IntEnum):
    """Why the session ended (2.6.6)."""

    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


class SettingId(IntEnum):
    """Of 2.6.4. 4 is advice to open no more streams; only 7 changes what may be sent."""

    MAX_CONCURRENT_STREAMS = 4
    INITIAL_WINDOW_SIZE = 7


class FrameError(Exception):
    """A control frame whose length or fields are impossible: the session cannot go on."""


@dataclass(frozen=True, slots=True)
class SynStream:
    stream_id: int
    block: bytes
    fin: bool = False
    unidirectional: bool = False
    associated_id: int = 0
    priority: int = 0

    def serialize(self) -> bytes:
        flags = (FLAG_FIN * self.fin) | (FLAG_UNIDIRECTIONAL * self.unidirectional)
        fields = _SYN_STREAM.pack(self.stream_id, self.associated_id, self.priority << 5, 0)
        return _control(FrameType.SYN_STREAM, flags, fields + self.block)


@dataclass(frozen=True, slots=True)
class SynReply:
    stream_id: int
    block: bytes
    fin: bool = False

    def serialize(self) -> bytes:
        body = _U32.pack(self.stream_id) + self.block
        return _control(FrameType.SYN_REPLY, FLAG_FIN * self.fin, body)


@dataclass(frozen=True, slots=True)
class HeadersFrame:
    stream_id: int
    block: bytes
    fin: bool = False

    def serialize(self) -> bytes:
        body = _U32.pack(self.stream_id) + self.block
        return _control(FrameType.HEADERS, FLAG_FIN * self.fin, body)


@dataclass(frozen=True, slots=True)
class RstStream:
    stream_id: int
    status: int

    def serialize(self) -> bytes:
        return _control(FrameType.RST_STREAM, 0, TWO_U32.pack(self.stream_id, self.status))


@dataclass(frozen=True, slots=True)
class Settings:
    values: tuple[tuple[int, int], ...]
    """Pairs of id (24 bits) and value."""

    def serialize(self) -> bytes:
        pairs = b"".join(TWO_U32.pack(name, value) for name, value in self.values)
        return _control(FrameType.SETTINGS, 0, _U32.pack(len(self.values)) + pairs)


@dataclass(frozen=True, slots=True)
class Ping:
    ping_id: int

    def serialize(self) -> bytes:
        return _control(FrameType.PING, 0, _U32.pack(self.ping_id))


@dataclass(frozen=True, slots=True)
class GoAway:
    last_good_id: int
    status: int

    def serialize(self) -> bytes:
        return _control(FrameType.GOAWAY, 0, TWO_U32.pack(self.last_good_id, self.status))


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    stream_id: int
    delta: int

    def serialize(self) -> bytes:
        return _control(FrameType.WINDOW_UPDATE, 0, TWO_U32.pack(self.stream_id, self.delta))


ControlFrame = (
    SynStream | SynReply | HeadersFrame | RstStream | Settings | Ping | GoAway | WindowUpdate
)


def data_header(stream_id: int, length: int, fin: bool) -> bytes:
    """The 8 bytes before `length` bytes of payload."""
    return TWO_U32.pack(stream_id, (FLAG_FIN << 24) * fin | length)


def parse_control(kind: int, flags: int, body: bytes) -> ControlFrame | None:
    """The frame of a control frame's body; None for a type nobody knows (2.2.1: ignore it)."""
    match kind:
        case FrameType.SYN_STREAM:
            return _syn_stream(flags, body)
        case FrameType.SYN_REPLY:
            return SynReply(_u32(body, 0) & _ID, body[4:], bool(flags & FLAG_FIN))
        case FrameType.HEADERS:
            return HeadersFrame(_u32(body, 0) & _ID, body[4:], bool(flags & FLAG_FIN))
        case FrameType.RST_STREAM:
            return RstStream(*_two(body, "RST_STREAM"))
        case FrameType.SETTINGS:
            return _settings(body)
        case FrameType.PING:
            return Ping(_u32(body, 0))
        case FrameType.GOAWAY:
            return GoAway(*_two(body, "GOAWAY"))
        case FrameType.WINDOW_UPDATE:
            return _window_update(body)
        case _:
            return None  # also CREDENTIAL (10), which nobody sends


def _syn_stream(flags: int, body: bytes) -> SynStream:
    if len(body) < _SYN_STREAM.size:
        raise FrameError("SYN_STREAM frame is cut short")
    # Priority has the upper three bits; it is read, and nobody here acts on it.
    stream_id, associated_id, priority, _slot = _SYN_STREAM.unpack_from(body)
    return SynStream(
        stream_id & _ID,
        body[_SYN_STREAM.size :],
        bool(flags & FLAG_FIN),
        bool(flags & FLAG_UNIDIRECTIONAL),
        associated_id & _ID,
        priority >> 5,
    )


def _settings(body: bytes) -> Settings:
    # A count that the length belies would have us read another frame's bytes.
    count = _u32(body, 0)
    if len(body) != 4 + 8 * count:
        raise FrameError(f"SETTINGS frame of {len(body)} bytes cannot hold {count} settings")
    return Settings(
        tuple((name & 0xFFFFFF, value) for name, value in TWO_U32.iter_unpack(body[4:]))
    )


def _window_update(body: bytes) -> WindowUpdate:
    stream_id, delta = _two(body, "WINDOW_UPDATE")
    return WindowUpdate(stream_id, delta & _ID)


def _two(body: bytes, name: str) -> tuple[int, int]:
    if len(body) != TWO_U32.size:
        raise FrameError(f"{name} frame has {len(body)} bytes, not 8")
    first, second = TWO_U32.unpack(body)
    return first & _ID, second  # RST_STREAM and GOAWAY: a stream id and a status of 32 bits


def _u32(body: bytes, at: int) -> int:
    if len(body) < at + 4:
        raise FrameError("control frame is cut short")
    value: int = _U32.unpack_from(body, at)[0]
    return value


def _control(kind: FrameType, flags: int, body: bytes) -> bytes:
    return TWO_U32.pack(0x80000000 | VERSION << 16 | kind, flags << 24 | len(body)) + body
