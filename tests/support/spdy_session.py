"""The client's end of a SPDY/3.1 session, for tests: kubelet and kubectl open, the server replies.

It shares the frames and header blocks of `wire` and nothing of its server session, so that the two
check each other. Like Go's library it sends without looking at windows until the peer speaks of
any; `announce_window` makes it keep windows itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cri_shim.wire import spdy_events as events
from cri_shim.wire import spdy_frames as frames
from cri_shim.wire.spdy_cutter import DataPiece, FrameCutter
from cri_shim.wire.spdy_frames import ResetStatus, SettingId
from cri_shim.wire.spdy_headers import HeaderDecoder, HeaderEncoder, Headers
from cri_shim.wire.spdy_session import SpdySession
from cri_shim.wire.spdy_streams import INITIAL_WINDOW, StreamGone, Window


@dataclass(frozen=True, slots=True)
class StreamReplied:
    """The server took a stream of ours."""

    stream_id: int
    headers: Headers
    fin: bool


Event = events.Event | StreamReplied


@dataclass(slots=True)
class _Stream:
    outgoing: Window
    replied: bool = False
    we_ended: bool = False
    server_ended: bool = False
    unreturned: int = 0


class ClientSession:
    """Bytes in, events and bytes out; the methods are those of `SpdySession` where it has them."""

    def __init__(self) -> None:
        self._cutter = FrameCutter()
        self._encoder = HeaderEncoder()
        self._decoder = HeaderDecoder()
        self._streams: dict[int, _Stream] = {}
        self._next_id = 1
        self._outgoing = Window()
        self._unreturned = 0
        self._own_window = INITIAL_WINDOW
        self._out: list[bytes] = []
        self.peer_window = INITIAL_WINDOW
        self.peer_keeps_windows = False
        self.peer_left = False

    def receive_data(self, data: bytes | bytearray | memoryview) -> Iterator[Event]:
        for item in self._cutter.cut(memoryview(data)):
            yield from self._take(item)

    def data_to_send(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def open_stream(self, headers: Iterable[tuple[bytes, bytes]], fin: bool = False) -> int:
        """Offer a stream; its id is odd, for it is a client's."""
        if self.peer_left:
            raise StreamGone("the session is ending: no new streams")
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._streams[stream_id] = _Stream(Window(self.peer_window), we_ended=fin)
        self._send(frames.SynStream(stream_id, self._encoder.encode(headers), fin))
        return stream_id

    def send_data(self, stream_id: int, payload: bytes, fin: bool = False) -> None:
        """Queue one data frame; StreamGone where our half is shut."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.we_ended:
            raise StreamGone(f"stream {stream_id} takes no data")
        stream.outgoing.take(len(payload))
        self._outgoing.take(len(payload))
        self._out += (frames.data_header(stream_id, len(payload), fin), payload)
        if fin:
            self._end(stream_id, stream, ours=True)

    def finish(self, stream_id: int) -> None:
        if self.may_send(stream_id):
            self.send_data(stream_id, b"", fin=True)

    def reset(self, stream_id: int, status: ResetStatus) -> None:
        if self._streams.pop(stream_id, None):
            self._send(frames.RstStream(stream_id, status))

    def announce_window(self, size: int) -> None:
        """Keep windows: the server may send `size` bytes ahead on each stream."""
        self._own_window = size
        self._send(frames.Settings(((SettingId.INITIAL_WINDOW_SIZE, size),)))

    def consumed(self, stream_id: int, length: int) -> None:
        """Return window once half of one is due."""
        self._unreturned += length
        if self._unreturned >= INITIAL_WINDOW // 2:
            self._send(frames.WindowUpdate(0, self._unreturned))
            self._unreturned = 0
        if stream := self._streams.get(stream_id):
            stream.unreturned += length
            if stream.unreturned >= self._own_window // 2:
                self._send(frames.WindowUpdate(stream_id, stream.unreturned))
                stream.unreturned = 0

    def room(self, stream_id: int) -> int:
        stream = self._streams.get(stream_id)
        if stream is None or not self.peer_keeps_windows:
            return frames.MAX_DATA
        return max(0, min(stream.outgoing.room, self._outgoing.room, frames.MAX_DATA))

    def may_send(self, stream_id: int) -> bool:
        stream = self._streams.get(stream_id)
        return stream is not None and not stream.we_ended

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def _take(self, item: frames.ControlFrame | DataPiece) -> Iterator[Event]:
        match item:
            case DataPiece(stream_id, payload, _, fin):
                yield from self._on_data(stream_id, payload, fin)
            case frames.SynReply(stream_id, block, fin):
                headers = self._decoder.decode(block)
                if stream := self._streams.get(stream_id):
                    stream.replied = True
                    yield StreamReplied(stream_id, headers, fin)
                    if fin:
                        self._end(stream_id, stream, ours=False)
            case frames.RstStream(stream_id, status):
                if self._streams.pop(stream_id, None):
                    yield events.StreamReset(stream_id, status, by_peer=True)
            case frames.Settings(values):
                for name, value in values:
                    if name == SettingId.INITIAL_WINDOW_SIZE:
                        yield from self._on_initial_window(value)
            case frames.WindowUpdate(stream_id, delta):
                self.peer_keeps_windows = True
                stream = self._streams.get(stream_id)
                window = self._outgoing if stream_id == 0 else stream and stream.outgoing
                if window:
                    assert window.give(delta)
                    yield events.WindowOpened(stream_id)
            case frames.GoAway(last_good_id, status):
                self.peer_left = True
                yield events.PeerLeaving(last_good_id, status)
            case frames.Ping():
                pass
            case frames.SynStream() | frames.HeadersFrame():
                raise AssertionError(f"a server of these protocols never sends {item}")

    def _on_data(self, stream_id: int, payload: memoryview, fin: bool) -> Iterator[Event]:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if not stream.replied or stream.server_ended:
            self.reset(stream_id, ResetStatus.STREAM_ALREADY_CLOSED)
            yield events.StreamReset(stream_id, ResetStatus.STREAM_ALREADY_CLOSED, by_peer=False)
            return
        if fin:
            self._end(stream_id, stream, ours=False)
        if payload or fin:
            yield events.DataReceived(stream_id, payload, fin)

    def _on_initial_window(self, size: int) -> Iterator[Event]:
        self.peer_keeps_windows = True
        for stream in self._streams.values():
            stream.outgoing.room += size - self.peer_window
        self.peer_window = size
        yield events.WindowOpened(0)

    def _end(self, stream_id: int, stream: _Stream, ours: bool) -> None:
        stream.we_ended |= ours
        stream.server_ended |= not ours
        if stream.we_ended and stream.server_ended:
            del self._streams[stream_id]

    def _send(self, frame: frames.ControlFrame) -> None:
        self._out.append(frame.serialize())


def send_data(session: SpdySession | ClientSession, stream_id: int, payload: bytes) -> None:
    """Queue one data frame of either end; the server's caller writes frames itself."""
    if isinstance(session, ClientSession):
        session.send_data(stream_id, payload)
    else:
        session._out += (session.data_header(stream_id, len(payload)), payload)
