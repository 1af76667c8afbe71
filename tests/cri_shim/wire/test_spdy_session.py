"""SPDY sessions: state table, windows, limits, and two ends that talk to each other."""

import hashlib
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri_shim.wire import spdy_events as events
from cri_shim.wire import spdy_frames as frames
from cri_shim.wire.spdy_cutter import FrameCutter
from cri_shim.wire.spdy_dictionary import DICTIONARY
from cri_shim.wire.spdy_headers import (
    MAX_BLOCK,
    HeaderDecoder,
    HeaderEncoder,
    HeaderError,
    pack_headers,
)
from cri_shim.wire.spdy_session import SpdySession
from cri_shim.wire.spdy_streams import INITIAL_WINDOW, MOVES, Step, StreamGone, StreamState
from tests.support.spdy_session import ClientSession, Event, send_data

HEADERS = ((b"streamtype", b"stdin"),)


Session = SpdySession | ClientSession


def talk(source: Session, target: Session) -> list[Event]:
    return list(target.receive_data(source.data_to_send()))


def pair() -> tuple[ClientSession, SpdySession, int]:
    """A client, a server, and one stream which the server took."""
    client, server = ClientSession(), SpdySession()
    stream_id = client.open_stream(HEADERS)
    talk(client, server)
    server.accept(stream_id)
    talk(server, client)
    return client, server, stream_id


def test_the_dictionary_is_the_published_one() -> None:
    assert len(DICTIONARY) == 1423
    assert zlib.adler32(DICTIONARY) == 0xE3C6A7C2
    assert hashlib.sha256(DICTIONARY).hexdigest().startswith("51d27341373f923f")


def test_every_state_can_be_reached_and_left() -> None:
    reached = {StreamState.OFFERED, *MOVES.values()}
    assert reached == set(StreamState)
    assert {state for state, _ in MOVES} == set(StreamState) - {StreamState.CLOSED}


def test_a_shut_half_sends_no_more() -> None:
    assert (StreamState.LOCAL_SHUT, Step.SEND_DATA) not in MOVES
    for state in (StreamState.REMOTE_SHUT, StreamState.OFFERED_SHUT):
        assert (state, Step.RECEIVE_DATA) not in MOVES


def test_both_halves_shut_frees_the_stream() -> None:
    client, server, stream_id = pair()
    client.finish(stream_id)
    assert next(e for e in talk(client, server) if isinstance(e, events.DataReceived)).fin
    send_data(server, stream_id, b"bye")
    server.finish(stream_id)
    talk(server, client)
    assert client.open_streams == len(server._streams) == 0
    with pytest.raises(StreamGone):
        send_data(server, stream_id, b"more")
    server.finish(stream_id)
    server.reset(stream_id, frames.ResetStatus.CANCEL)
    assert server.data_to_send() == b""


def test_data_before_the_reply_breaks_our_stream_only() -> None:
    client = ClientSession()
    client.open_stream(HEADERS)
    other = client.open_stream(HEADERS)
    client.data_to_send()
    (event,) = client.receive_data(frames.data_header(1, 1, False) + b"x")
    assert isinstance(event, events.StreamReset)
    assert client.may_send(other)


def test_a_peer_that_never_speaks_of_windows_is_sent_to_without_limit() -> None:
    _, server, stream_id = pair()
    for _ in range(10):
        send_data(server, stream_id, bytes(INITIAL_WINDOW))
    assert server.room(stream_id) == frames.MAX_DATA


def test_a_peer_that_keeps_windows_is_not_overrun() -> None:
    client, server, stream_id = pair()
    client.announce_window(1000)
    talk(client, server)
    assert server.room(stream_id) == 1000
    send_data(server, stream_id, bytes(1000))
    assert server.room(stream_id) == 0
    talk(server, client)
    client.consumed(stream_id, 1000)
    assert talk(client, server) == [events.WindowOpened(stream_id)]
    assert server.room(stream_id) == 1000


def test_windows_come_back_as_data_goes_on() -> None:
    client, server, stream_id = pair()
    client.receive_data(b"")
    client.peer_keeps_windows = True
    sent = 0
    while sent < 10 * INITIAL_WINDOW:
        room = client.room(stream_id)
        assert room > 0
        client.send_data(stream_id, bytes(room))
        sent += room
        for event in talk(client, server):
            assert isinstance(event, events.DataReceived)
            server.consumed(stream_id, len(event.payload))
        talk(server, client)


def test_a_peer_that_overdraws_is_forgiven_and_gets_its_window_back() -> None:
    client, server, stream_id = pair()
    client.send_data(stream_id, bytes(5 * INITIAL_WINDOW))
    talk(client, server)
    server.consumed(stream_id, 5 * INITIAL_WINDOW)
    assert talk(server, client) == [events.WindowOpened(0), events.WindowOpened(stream_id)]
    assert client.room(stream_id) == INITIAL_WINDOW


def test_a_stream_window_beyond_31_bits_ends_the_stream() -> None:
    client, server, stream_id = pair()
    client._send(frames.WindowUpdate(stream_id, 2**31 - 1))
    (event,) = talk(client, server)
    assert event == events.StreamReset(stream_id, frames.ResetStatus.FLOW_CONTROL_ERROR, False)


def test_too_many_streams_are_refused_one_by_one() -> None:
    client, server = ClientSession(), SpdySession(max_streams=3)
    for _ in range(5):
        client.open_stream(HEADERS)
    assert len(talk(client, server)) == 3
    resets = talk(server, client)
    assert [(e.stream_id, e.status) for e in resets if isinstance(e, events.StreamReset)] == [
        (7, frames.ResetStatus.REFUSED_STREAM),
        (9, frames.ResetStatus.REFUSED_STREAM),
    ]


def test_after_leaving_new_streams_are_not_answered() -> None:
    client, server, _ = pair()
    server.go_away()
    client.open_stream(HEADERS)
    assert talk(client, server) == []
    assert [type(e) for e in talk(server, client)] == [events.PeerLeaving]
    with pytest.raises(StreamGone):
        client.open_stream(HEADERS)


def test_nothing_is_heard_after_a_failure() -> None:
    client, server, _ = pair()
    assert isinstance(next(server.receive_data(b"\x80\x09" + bytes(6))), events.SessionFailed)
    client.open_stream(HEADERS)
    assert talk(client, server) == []
    assert len(server._streams) == 0


def test_a_block_that_inflates_without_end_is_refused() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 8, 0, DICTIONARY)
    bomb = deflate.compress(bytes(64 << 20)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(HeaderError, match="longer"):
        HeaderDecoder().decode(bomb[: frames.MAX_CONTROL])


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\0\0\0\1",
        b"\xff\xff\xff\xff",
        pack_headers(((b"a", b"1"), (b"a", b"2"))),
        pack_headers(((b"", b"1"),)),
        pack_headers(((b"a", b"1"),)) + b"x",
        pack_headers(((b"a", b"1"),))[:-1],
        b"\0\0\0\1\x7f\xff\xff\xffa",
    ],
)
def test_bad_blocks(plain: bytes) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 8, 0, DICTIONARY)
    block = deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(HeaderError):
        HeaderDecoder().decode(block)


names = st.binary(min_size=1, max_size=40).map(bytes.lower)
blocks = st.dictionaries(names, st.binary(max_size=2000), max_size=20).map(
    lambda d: tuple(d.items())
)


@settings(max_examples=200, deadline=None)
@given(st.lists(blocks, max_size=6))
def test_header_blocks_round_trip(all_headers: list[tuple[tuple[bytes, bytes], ...]]) -> None:
    encoder, decoder = HeaderEncoder(), HeaderDecoder()
    for headers in all_headers:
        assert len(pack_headers(headers)) <= MAX_BLOCK
        assert decoder.decode(encoder.encode(headers)) == headers


ids = st.integers(1, 2**31 - 1)
bodies = st.binary(max_size=100)
any_frame = st.one_of(
    st.builds(frames.SynStream, ids, bodies, st.booleans(), st.booleans(), ids, st.integers(0, 7)),
    st.builds(frames.SynReply, ids, bodies, st.booleans()),
    st.builds(frames.HeadersFrame, ids, bodies, st.booleans()),
    st.builds(frames.RstStream, ids, st.integers(0, 2**32 - 1)),
    st.builds(
        frames.Settings,
        st.lists(st.tuples(st.integers(0, 2**24 - 1), st.integers(0, 2**32 - 1)), max_size=4).map(
            tuple
        ),
    ),
    st.builds(frames.Ping, st.integers(0, 2**32 - 1)),
    st.builds(frames.GoAway, ids, st.integers(0, 2**32 - 1)),
    st.builds(frames.WindowUpdate, ids, ids),
    st.tuples(ids, bodies, st.booleans()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(any_frame, max_size=8), st.data())
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(
    sent: list[frames.ControlFrame | tuple[int, bytes, bool]], data: st.DataObject
) -> None:
    wire = b"".join(
        frames.data_header(f[0], len(f[1]), f[2]) + f[1] if isinstance(f, tuple) else f.serialize()
        for f in sent
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    cutter, got = FrameCutter(), []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        for item in cutter.cut(memoryview(wire[start:end])):
            if isinstance(item, frames.ControlFrame):
                got.append(item)
            elif item.first:
                got.append((item.stream_id, bytes(item.payload), item.fin))
            else:
                stream_id, before, _ = got[-1]
                got[-1] = (stream_id, before + bytes(item.payload), item.fin)
    assert got == sent


streams_and_data = st.lists(
    st.tuples(st.sampled_from(("open", "data", "fin", "reset")), st.integers(0, 5), bodies),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(streams_and_data, st.integers(1, 200))
def test_what_a_client_does_is_what_a_server_sees(
    steps: list[tuple[str, int, bytes]], size: int
) -> None:
    """Any order of steps on any streams, cut anywhere: same streams, same bytes, same ends."""
    client, server = ClientSession(), SpdySession()
    sent: dict[int, bytes] = {}
    shut: set[int] = set()
    gone: set[int] = set()
    opened: list[int] = []
    for what, number, payload in steps:
        if what == "open":
            opened.append(client.open_stream(HEADERS))
            sent[opened[-1]] = b""
            continue
        if not opened:
            continue
        stream_id = opened[number % len(opened)]
        if stream_id in shut | gone:
            continue
        match what:
            case "data":
                client.send_data(stream_id, payload)
                sent[stream_id] += payload
            case "fin":
                client.finish(stream_id)
                shut.add(stream_id)
            case _:
                client.reset(stream_id, frames.ResetStatus.CANCEL)
                gone.add(stream_id)
    wire = client.data_to_send()
    got: dict[int, bytes] = {}
    ended: set[int] = set()
    lost: set[int] = set()
    for at in range(0, len(wire), size):
        for event in server.receive_data(wire[at : at + size]):
            match event:
                case events.StreamOpened(stream_id):
                    got[stream_id] = b""
                    server.accept(stream_id)
                case events.DataReceived(stream_id, data, fin):
                    got[stream_id] += bytes(data)
                    ended |= {stream_id} if fin else set()
                case events.StreamReset(stream_id):
                    lost.add(stream_id)
    assert (got, ended, lost) == (sent, shut, gone)
    assert not server.failed
