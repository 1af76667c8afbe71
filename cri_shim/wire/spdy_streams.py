"""The life of one SPDY stream as a table, and its flow-control windows.

Seen from one end:

    local open ──▶ REQUESTED ── reply ──▶ OPEN ── we finish ──▶ LOCAL_SHUT ── peer finishes ─┐
                     │ we finish            └── peer finishes ──▶ REMOTE_SHUT ── we finish ──┤
                     ▼                                                ▲                      ▼
                   REQUESTED_SHUT ── reply ──▶ LOCAL_SHUT             │ reply             CLOSED
    peer opens ──▶ OFFERED ── reply ──▶ OPEN                          │                      ▲
                     └── peer finishes ──▶ OFFERED_SHUT ──────────────┘    a reset, anywhere ┘

Source: SPDY/3.1 draft, 2.3 (streams) and 2.6.8 (windows).
"""

from dataclasses import dataclass
from enum import Enum

INITIAL_WINDOW = 64 * 1024
MAX_WINDOW = 2**31 - 1


class StreamState(Enum):
    REQUESTED = "requested"
    REQUESTED_SHUT = "requested, our half shut"
    OFFERED = "offered"
    OFFERED_SHUT = "offered, the peer's half shut"
    OPEN = "open"
    LOCAL_SHUT = "our half shut"
    REMOTE_SHUT = "the peer's half shut"
    CLOSED = "closed"


class Step(Enum):
    SEND_REPLY = "reply to the stream"
    RECEIVE_REPLY = "take a reply"
    SEND_DATA = "send data"
    RECEIVE_DATA = "take data"
    SEND_FIN = "finish its half"
    RECEIVE_FIN = "take a finish"


_S, _T = StreamState, Step

MOVES: dict[tuple[StreamState, Step], StreamState] = {
    (_S.OFFERED, _T.SEND_REPLY): _S.OPEN,
    (_S.OFFERED, _T.RECEIVE_DATA): _S.OFFERED,
    (_S.OFFERED, _T.RECEIVE_FIN): _S.OFFERED_SHUT,
    (_S.OFFERED_SHUT, _T.SEND_REPLY): _S.REMOTE_SHUT,
    (_S.REQUESTED, _T.RECEIVE_REPLY): _S.OPEN,
    (_S.REQUESTED, _T.SEND_DATA): _S.REQUESTED,
    (_S.REQUESTED, _T.SEND_FIN): _S.REQUESTED_SHUT,
    (_S.REQUESTED_SHUT, _T.RECEIVE_REPLY): _S.LOCAL_SHUT,
    (_S.OPEN, _T.SEND_DATA): _S.OPEN,
    (_S.OPEN, _T.RECEIVE_DATA): _S.OPEN,
    (_S.OPEN, _T.SEND_FIN): _S.LOCAL_SHUT,
    (_S.OPEN, _T.RECEIVE_FIN): _S.REMOTE_SHUT,
    (_S.LOCAL_SHUT, _T.RECEIVE_DATA): _S.LOCAL_SHUT,
    (_S.LOCAL_SHUT, _T.RECEIVE_FIN): _S.CLOSED,
    (_S.REMOTE_SHUT, _T.SEND_DATA): _S.REMOTE_SHUT,
    (_S.REMOTE_SHUT, _T.SEND_FIN): _S.CLOSED,
}
"""Every step that is allowed; a reset closes from anywhere and is not listed."""


class Window:
    """Bytes that may still be sent in one direction, of a stream or of the session."""

    __slots__ = ("room",)

    def __init__(self, room: int = INITIAL_WINDOW) -> None:
        self.room = room
        """May be negative: a peer that ignores windows overdraws, and SETTINGS can shrink it."""

    def take(self, length: int) -> None:
        self.room -= length

    def give(self, length: int) -> bool:
        """False if the window would pass 2^31 - 1, which is a flow-control error."""
        if self.room + length > MAX_WINDOW:
            return False
        self.room += length
        return True


@dataclass(slots=True)
class Stream:
    stream_id: int
    state: StreamState
    outgoing: Window
    incoming: Window
    unreturned: int = 0
    """Bytes taken by the application and not yet given back by WINDOW_UPDATE."""

    def may(self, step: Step) -> bool:
        return (self.state, step) in MOVES

    def move(self, step: Step) -> None:
        self.state = MOVES[self.state, step]
