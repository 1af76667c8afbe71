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


class StreamGone(Exception):
    """The stream is closed, or its state forbids the step: the peer may have reset it just now."""


class StreamTable:
    """The streams of one session that are not closed, and which ids were given so far.

    One end gives even ids, the other odd ones; each counts up.
    """

    def __init__(self, own_parity: int) -> None:
        self._own_parity = own_parity
        self._open: dict[int, Stream] = {}
        self._next_id = 2 - own_parity
        self.highest_peer_id = 0
        self.peer_window = INITIAL_WINDOW
        """What the peer grants each new stream; `own_window` is what we grant."""
        self.own_window = INITIAL_WINDOW

    def __len__(self) -> int:
        return len(self._open)

    def get(self, stream_id: int) -> Stream | None:
        return self._open.get(stream_id)

    def open_own(self, fin: bool) -> int:
        """A stream that we offer; its id."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._add(stream_id, StreamState.REQUESTED_SHUT if fin else StreamState.REQUESTED)
        return stream_id

    def open_peers(self, stream_id: int, fin: bool) -> None:
        """A stream that the peer offers."""
        self._add(stream_id, StreamState.OFFERED_SHUT if fin else StreamState.OFFERED)

    def step(self, stream_id: int, step: Step) -> Stream:
        """Move a stream; StreamGone where the table has no such arrow."""
        stream = self._open.get(stream_id)
        if stream is None or not stream.may(step):
            state = stream.state.value if stream else "gone"
            raise StreamGone(f"stream {stream_id} is {state}: cannot {step.value}")
        stream.move(step)
        if stream.state is StreamState.CLOSED:
            del self._open[stream_id]
        return stream

    def drop(self, stream_id: int) -> bool:
        """Close at once; False if it was closed."""
        return self._open.pop(stream_id, None) is not None

    def clear(self) -> None:
        self._open.clear()

    def is_peers(self, stream_id: int) -> bool:
        return stream_id > 0 and stream_id % 2 != self._own_parity

    def was_open(self, stream_id: int) -> bool:
        """The id was given at some time."""
        last = self.highest_peer_id if self.is_peers(stream_id) else self._next_id - 2
        return stream_id <= last

    def set_peer_window(self, size: int) -> None:
        """The peer's new initial window, which also counts for streams that are open."""
        for stream in self._open.values():
            stream.outgoing.room += size - self.peer_window
        self.peer_window = size

    def _add(self, stream_id: int, state: StreamState) -> None:
        windows = Window(self.peer_window), Window(self.own_window)
        self._open[stream_id] = Stream(stream_id, state, *windows)
