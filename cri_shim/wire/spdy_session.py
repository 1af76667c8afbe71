"""The server's end of a SPDY/3.1 session: bytes in, events and bytes out.

Flow control. The peers that matter here are Go programs on moby/spdystream (kubelet, kubectl,
crictl, critest). That library sends neither WINDOW_UPDATE nor SETTINGS, drops those it receives,
and sends without looking at any window (`connection.go`: `frameHandler` knows neither frame,
`Stream.WriteData` writes at once). So:

- we stay inside a client's windows only after its first WINDOW_UPDATE or initial window setting,
  which shows that it keeps any;
- we return windows to every client, and forgive one that sends more: the brake that all clients
  obey is TCP's, when nobody reads the socket.

That library also drops data for a stream that was not replied to, and stops reading at GOAWAY:
reply first, and say GOAWAY last.

An error of one stream resets that stream (2.4.2); an error of framing, header compression or the
session's own window ends the session with GOAWAY (2.4.1).
"""

from collections.abc import Iterable, Iterator

from cri_shim.wire import spdy_events as events
from cri_shim.wire import spdy_frames as frames
from cri_shim.wire.spdy_cutter import DataPiece, FrameCutter
from cri_shim.wire.spdy_events import Event
from cri_shim.wire.spdy_frames import GoAwayStatus, ResetStatus, SettingId
from cri_shim.wire.spdy_headers import HeaderDecoder, HeaderEncoder, HeaderError
from cri_shim.wire.spdy_streams import (
    INITIAL_WINDOW,
    MAX_WINDOW,
    Step,
    Stream,
    StreamTable,
    Window,
)

MAX_STREAMS = 2048
"""Streams a peer may have open; a port-forward connection uses two."""


class SpdySession:
    """A session after the HTTP upgrade. Not thread-safe; nothing here waits."""

    def __init__(self, max_streams: int = MAX_STREAMS) -> None:
        self._max_streams = max_streams
        self._cutter = FrameCutter()
        self._encoder = HeaderEncoder()
        self._decoder = HeaderDecoder()
        self._streams = StreamTable()
        self._outgoing = Window()
        self._unreturned = 0
        self._out: list[bytes] = []
        self.failed = False
        self._left = False
        """We said GOAWAY: streams that the peer still offers get no reply."""
        self._peer_keeps_windows = False

    # What comes in

    def receive_data(self, data: bytes | bytearray | memoryview) -> Iterator[Event]:
        """Events of `data`, in order. Take them all; payloads are views of `data`."""
        if self.failed:
            return
        try:
            for item in self._cutter.cut(memoryview(data)):
                yield from self._take(item)
                if self.failed:
                    return
        except (frames.FrameError, HeaderError) as error:
            yield self._fail(str(error))

    def data_to_send(self) -> bytes:
        """Frames which are due, taken out."""
        out, self._out = b"".join(self._out), []
        return out

    # What goes out

    def accept(self, stream_id: int, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Reply to a stream which the peer offered."""
        self._streams.step(stream_id, Step.SEND_REPLY)
        self._send(frames.SynReply(stream_id, self._encoder.encode(headers)))

    def data_header(self, stream_id: int, length: int) -> bytes:
        """Account for a data frame; the 8 bytes to put before its payload.

        The caller writes both itself, after `data_to_send`, so that the payload is not copied.
        `length` may not pass `room`.
        """
        stream = self._streams.step(stream_id, Step.SEND_DATA)
        stream.outgoing.take(length)
        self._outgoing.take(length)
        return frames.data_header(stream_id, length, False)

    def finish(self, stream_id: int) -> None:
        """Shut our half of the stream; nothing if it is shut already or gone."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.may(Step.SEND_FIN):
            self._streams.step(stream_id, Step.SEND_FIN)
            self._out.append(frames.data_header(stream_id, 0, True))

    def reset(self, stream_id: int, status: ResetStatus) -> None:
        """End a stream at once in both directions; nothing if it is gone."""
        if self._streams.drop(stream_id):
            self._send(frames.RstStream(stream_id, status))

    def go_away(self, status: GoAwayStatus = GoAwayStatus.OK) -> None:
        """Say that no new streams are taken. Go peers stop reading here: send it last."""
        # Every stream that is offered gets a reply or a reset at once, so that the highest id is
        # the "last good" one of 2.6.6: what is above it the peer may open elsewhere.
        if not self._left:
            self._left = True
            self._send(frames.GoAway(self._streams.highest_id, status))

    def room(self, stream_id: int) -> int:
        """Bytes that one data frame may carry now; 0 means wait for WindowOpened."""
        stream = self._streams.get(stream_id)
        if stream is None or not self._peer_keeps_windows:
            return frames.MAX_DATA
        return max(0, min(stream.outgoing.room, self._outgoing.room, frames.MAX_DATA))

    def consumed(self, stream_id: int, length: int) -> None:
        """Bytes of DataReceived have gone on: return their window once half of one is due."""
        if self.failed:
            return
        # Half a window at a time: a WINDOW_UPDATE for each read would double the frames, and with a
        # whole window the client would stand still until it comes.
        self._unreturned += length
        if self._unreturned >= INITIAL_WINDOW // 2:
            self._send(frames.WindowUpdate(0, self._unreturned))
            self._unreturned = 0
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.unreturned += length
        if stream.unreturned >= INITIAL_WINDOW // 2:
            self._send(frames.WindowUpdate(stream_id, stream.unreturned))
            stream.unreturned = 0

    def may_send(self, stream_id: int) -> bool:
        stream = self._streams.get(stream_id)
        return stream is not None and stream.may(Step.SEND_DATA)

    def is_open(self, stream_id: int) -> bool:
        """At least one half of the stream is not finished."""
        return self._streams.get(stream_id) is not None

    # Frames that come in, one method each

    def _take(self, item: frames.ControlFrame | DataPiece) -> Iterator[Event]:
        match item:
            case DataPiece():
                yield from self._on_data(item)
            case frames.SynStream():
                yield from self._on_syn_stream(item)
            case frames.SynReply():
                yield from self._on_syn_reply(item)
            case frames.HeadersFrame():
                yield from self._on_headers(item)
            case frames.RstStream(stream_id, status):
                # Both ends may reset a stream at once: the second reset finds nothing.
                if self._streams.drop(stream_id):
                    yield events.StreamReset(stream_id, status, by_peer=True)
            case frames.Settings(values):
                yield from self._on_settings(values)
            case frames.Ping(ping_id):
                # Odd ids are the client's, to be sent back as they are (2.6.5). An even one would
                # echo a ping of ours, and we send none: echoing it would start a ping-pong.
                if ping_id % 2:
                    self._send(frames.Ping(ping_id))
            case frames.GoAway(last_good_id, status):
                yield events.PeerLeaving(last_good_id, status)
            case frames.WindowUpdate(stream_id, delta):
                yield from self._on_window_update(stream_id, delta)

    def _on_data(self, piece: DataPiece) -> Iterator[Event]:
        length = len(piece.payload)
        stream = self._streams.get(piece.stream_id)
        if stream is None:
            self.consumed(0, length)
            # What was on its way when we reset the stream is dropped silently, but the session's
            # window for it is returned, or each reset stream would cost the session some of it.
            if piece.first and not self._streams.was_offered(piece.stream_id):
                self._send(frames.RstStream(piece.stream_id, ResetStatus.INVALID_STREAM))
            return
        # Data after its own FIN is the client's error (2.3.7).
        if not stream.may(Step.RECEIVE_DATA):
            self.consumed(0, length)
            yield self._reset_for_error(stream, ResetStatus.STREAM_ALREADY_CLOSED)
            return
        if piece.fin:
            self._streams.step(piece.stream_id, Step.RECEIVE_FIN)
        if length or piece.fin:
            yield events.DataReceived(piece.stream_id, piece.payload, piece.fin)

    def _on_syn_stream(self, frame: frames.SynStream) -> Iterator[Event]:
        # Also for a stream that is refused below: blocks of one direction share zlib's history.
        headers = self._decoder.decode(frame.block)
        if self._left:
            return
        if known := self._streams.get(frame.stream_id):
            yield self._reset_for_error(known, ResetStatus.PROTOCOL_ERROR)
            return
        if not self._streams.may_open(frame.stream_id):
            yield self._fail(f"the peer cannot open stream {frame.stream_id} now")
            return
        self._streams.highest_id = frame.stream_id
        # A unidirectional stream has no half for a reply, and none of the protocols here has one.
        if len(self._streams) >= self._max_streams or frame.unidirectional:
            self._send(frames.RstStream(frame.stream_id, ResetStatus.REFUSED_STREAM))
            return
        self._streams.open(frame.stream_id, frame.fin)
        yield events.StreamOpened(frame.stream_id, headers, frame.fin)

    def _on_syn_reply(self, frame: frames.SynReply) -> Iterator[Event]:
        """A reply to nothing: this end opens no streams."""
        self._decoder.decode(frame.block)
        if stream := self._known(frame.stream_id):
            yield self._reset_for_error(stream, ResetStatus.STREAM_IN_USE)

    def _on_headers(self, frame: frames.HeadersFrame) -> Iterator[Event]:
        headers = self._decoder.decode(frame.block)
        stream = self._known(frame.stream_id)
        if stream is None:
            return
        if not stream.may(Step.RECEIVE_DATA):
            yield self._reset_for_error(stream, ResetStatus.STREAM_ALREADY_CLOSED)
            return
        if frame.fin:
            self._streams.step(frame.stream_id, Step.RECEIVE_FIN)
        yield events.HeadersReceived(frame.stream_id, headers, frame.fin)

    def _on_settings(self, values: tuple[tuple[int, int], ...]) -> Iterator[Event]:
        for name, value in values:
            if name != SettingId.INITIAL_WINDOW_SIZE:
                continue
            if value > MAX_WINDOW:
                yield self._fail(f"initial window of {value} bytes is over 2^31 - 1")
                return
            # It is the window of streams only; the session's changes by WINDOW_UPDATE alone.
            self._peer_keeps_windows = True
            self._streams.set_peer_window(value)
            yield events.WindowOpened(0)

    def _on_window_update(self, stream_id: int, delta: int) -> Iterator[Event]:
        self._peer_keeps_windows = True
        stream = self._streams.get(stream_id)
        if stream_id == 0:
            if not self._outgoing.give(delta):
                yield self._fail("the session window passes 2^31 - 1")
                return
        elif stream is None:
            return  # for a stream that has just ended: it was on its way
        elif not stream.outgoing.give(delta):
            yield self._reset_for_error(stream, ResetStatus.FLOW_CONTROL_ERROR)
            return
        yield events.WindowOpened(stream_id)

    # Bookkeeping

    def _known(self, stream_id: int) -> Stream | None:
        stream = self._streams.get(stream_id)
        if stream is None and not self._streams.was_offered(stream_id):
            self._send(frames.RstStream(stream_id, ResetStatus.INVALID_STREAM))
        return stream

    def _reset_for_error(self, stream: Stream, status: ResetStatus) -> Event:
        self.reset(stream.stream_id, status)
        return events.StreamReset(stream.stream_id, int(status), by_peer=False)

    def _fail(self, reason: str) -> Event:
        # zlib's history or the frame boundary is lost: nothing that comes later can be read.
        self.failed = True
        self._streams.clear()
        self.go_away(GoAwayStatus.PROTOCOL_ERROR)
        return events.SessionFailed(reason)

    def _send(self, frame: frames.ControlFrame) -> None:
        self._out.append(frame.serialize())
