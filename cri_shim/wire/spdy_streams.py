"""The life of one SPDY stream as a table, and its flow-control windows.

Seen from the server, which is the only end there is here: clients open streams, and the server
accepts or resets them. A stream is two halves; each end shuts its own with FIN, and a stream whose
halves are both shut is forgotten.

    SYN_STREAM          SYN_STREAM + FIN
        │                      │
        ▼                      ▼
     OFFERED ── FIN ──▶ OFFERED_SHUT
        │ our reply            │ our reply
        ▼                      ▼
       OPEN ─── FIN ──▶  REMOTE_SHUT
        │ our FIN              │ our FIN
        ▼                      ▼
    LOCAL_SHUT ─ FIN ─▶    CLOSED   ◀── RST_STREAM, from either end, in any state

Data may come in every state of the left column: a client need not wait for the reply before it
sends (2.3). Data may go out only below the reply, since Go's library throws away what comes
earlier.

Source: SPDY/3.1 draft, 2.3 (streams) and 2.6.8 (windows).
"""

from dataclasses import dataclass
from enum import Enum

INITIAL_WINDOW = 64 * 1024
MAX_WINDOW = 2**31 - 1


class StreamState(Enum):
    OFFERED = "offered"
    OFFERED_SHUT = "offered, the peer's half shut"
    OPEN = "open"
    LOCAL_SHUT = "our half shut"
    REMOTE_SHUT = "the peer's half shut"
    CLOSED = "closed"


class Step(Enum):
    SEND_REPLY = "reply to the stream"
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
    """Bytes that we may still send, on one stream or in the whole session."""

    __slots__ = ("room",)

    def __init__(self, room: int = INITIAL_WINDOW) -> None:
        self.room = room
        """Negative where SETTINGS made the initial window smaller than what is on its way."""

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
    unreturned: int = 0
    """Bytes that have gone on to a process or socket and are not yet in a WINDOW_UPDATE.

    How much the client may still send is not counted: Go's library never looks at windows, so a
    client over its limit is the usual case and no error.
    """

    def may(self, step: Step) -> bool:
        return (self.state, step) in MOVES

    def move(self, step: Step) -> None:
        self.state = MOVES[self.state, step]


class StreamGone(Exception):
    """The stream is closed, or its state forbids the step: the peer may have reset it just now."""


class StreamTable:
    """The streams of one session that are not closed, and the highest id that was offered.

    A client gives odd ids, each higher than the one before (2.3.2); the even ids are a server's,
    which never opens a stream here.
    """

    def __init__(self) -> None:
        self._open: dict[int, Stream] = {}
        self.highest_id = 0
        self.peer_window = INITIAL_WINDOW
        """What the client grants each new stream."""

    def __len__(self) -> int:
        return len(self._open)

    def get(self, stream_id: int) -> Stream | None:
        return self._open.get(stream_id)

    def may_open(self, stream_id: int) -> bool:
        """Whether a client may give this id to a new stream now."""
        return stream_id % 2 == 1 and stream_id > self.highest_id

    def was_offered(self, stream_id: int) -> bool:
        """Whether the id was given at some time; ids that were jumped over count as given."""
        return stream_id % 2 == 1 and stream_id <= self.highest_id

    def open(self, stream_id: int, fin: bool) -> None:
        """A stream that the client offers."""
        state = StreamState.OFFERED_SHUT if fin else StreamState.OFFERED
        self._open[stream_id] = Stream(stream_id, state, Window(self.peer_window))

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

    def set_peer_window(self, size: int) -> None:
        """The client's new initial window. It also moves the windows of open streams (2.6.8)."""
        for stream in self._open.values():
            stream.outgoing.room += size - self.peer_window
        self.peer_window = size
