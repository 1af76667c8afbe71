"""What a SPDY session tells its user."""

from dataclasses import dataclass

from cri_shim.wire.spdy_headers import Headers


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer offers a stream: `accept` or `reset` it."""

    stream_id: int
    headers: Headers
    fin: bool


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes for a stream, valid until the next `receive_data`.

    Call `consumed` when they have gone on; `fin` says that none will follow.
    """

    stream_id: int
    payload: memoryview
    fin: bool


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    stream_id: int
    headers: Headers
    fin: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is gone, because the peer reset it or for its error (`by_peer` tells which)."""

    stream_id: int
    status: int
    by_peer: bool


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """There may be room again: for one stream, or for all where `stream_id` is 0."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PeerLeaving:
    """GOAWAY: no new streams; those up to `last_good_id` go on."""

    last_good_id: int
    status: int


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """The peer broke the session; GOAWAY is ready to send and all further input is ignored."""

    reason: str


Event = (
    StreamOpened
    | DataReceived
    | HeadersReceived
    | StreamReset
    | WindowOpened
    | PeerLeaving
    | SessionFailed
)
