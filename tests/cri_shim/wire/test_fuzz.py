"""Broken input of every kind: no exception but the protocol's own, and bounded memory.

60,000 mutated sessions from a fixed seed, and hypothesis on top.
"""

import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri_shim.wire import spdy_events as events
from cri_shim.wire import spdy_frames as frames
from cri_shim.wire.conmon_packets import PacketError, parse_packet
from cri_shim.wire.port_forward import HalfTaken, PairTable, StreamRefused, read_offer
from cri_shim.wire.spdy_dictionary import DICTIONARY
from cri_shim.wire.spdy_headers import pack_headers
from cri_shim.wire.spdy_session import SpdySession
from cri_shim.wire.terminal_size import ResizeError, SizeReader
from cri_shim.wire.websocket_channels import ChannelError, ChannelReader

SESSIONS = 60_000
MAX_STREAMS = 16


def seeds() -> list[list[bytes]]:
    """Frames of well-formed sessions, to be broken."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 15, 8, 0, DICTIONARY)

    def block(**headers: str) -> bytes:
        plain = pack_headers(tuple((k.encode(), v.encode()) for k, v in headers.items()))
        return deflate.compress(plain) + deflate.flush(zlib.Z_SYNC_FLUSH)

    opened = [
        frames.SynStream(i, block(streamtype=kind, port="80", requestid="7")).serialize()
        for i, kind in zip((1, 3, 5, 7), ("error", "stdin", "data", "resize"), strict=True)
    ]
    talk = [
        frames.data_header(3, 5, False) + b"hello",
        frames.data_header(7, 24, False) + b'{"Width":80,"Height":24}',
        frames.data_header(3, 0, True),
        frames.Settings(((7, 100), (4, 9))).serialize(),
        frames.WindowUpdate(3, 70000).serialize(),
        frames.WindowUpdate(0, 70000).serialize(),
        frames.Ping(1).serialize(),
        frames.HeadersFrame(5, block(more="x")).serialize(),
        frames.SynReply(2, block(ok="1")).serialize(),
        frames.RstStream(5, 5).serialize(),
        frames.GoAway(0, 0).serialize(),
    ]
    return [opened + talk, opened[:2] + talk[:4], talk, opened]


def broken(parts: list[bytes], rng: random.Random) -> bytearray:
    """A session with frames dropped, doubled or swapped, then bytes changed."""
    parts = list(parts)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(parts))
        match rng.randrange(3):
            case 0:
                parts.pop(at)
                parts = parts or [b""]
            case 1:
                parts.insert(at, parts[rng.randrange(len(parts))])
            case _:
                parts[at], parts[0] = parts[0], parts[at]
    data = bytearray(b"".join(parts))
    for _ in range(rng.randrange(4)):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at : at + rng.randrange(1, 9)]
            case _:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
    return data


def survive(data: bytes, cuts: list[int]) -> SpdySession:
    session = SpdySession(max_streams=MAX_STREAMS)
    before = 0
    for cut in [*cuts, len(data)]:
        for event in session.receive_data(data[before:cut]):
            if isinstance(event, events.StreamOpened) and event.stream_id % 4 == 1:
                session.accept(event.stream_id)
            if isinstance(event, events.DataReceived):
                session.consumed(event.stream_id, len(event.payload))
        before = cut
    return session


def test_60000_broken_sessions() -> None:
    rng = random.Random(20_240_607)
    parts = seeds()
    failed = 0
    for number in range(SESSIONS):
        data = bytes(broken(parts[number % len(parts)], rng))
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(number % 3))
        session = survive(data, cuts)
        assert len(session._streams) <= MAX_STREAMS
        assert len(session.data_to_send()) <= 64 + 4 * len(data)
        failed += session.failed
    # Both ends of the road are well travelled: sessions that break, and sessions that hold.
    assert SESSIONS // 10 < failed < SESSIONS * 9 // 10


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes(data: bytes) -> None:
    survive(data, [])


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from((1, 2, 3, 4, 6, 7, 8, 9)), st.integers(0, 3), st.binary(max_size=30)
        ),
        max_size=8,
    )
)
def test_any_bodies_in_sound_frames(control: list[tuple[int, int, bytes]]) -> None:
    survive(b"".join(frames._control(frames.FrameType(k), f, b) for k, f, b in control), [])


def channels(base64: bool) -> Callable[[bytes], object]:
    def feed(data: bytes) -> object:
        reader = ChannelReader(base64, closes=True)
        return [*reader.feed(data[:3], end=False), *reader.feed(data[3:], end=True)]

    return feed


def pairs(data: bytes) -> None:
    table = PairTable()
    for at in range(0, len(data) - 3, 3):
        headers = (
            (b"port", b"%d" % (data[at] * 300)),
            (b"streamtype", (b"data", b"error", b"", data)[data[at + 1] % 4]),
            (b"requestid", data[at + 2 : at + 3]),
        )
        try:
            table.add(at, read_offer(at, headers))
        except (StreamRefused, HalfTaken):
            continue


READERS: dict[str, tuple[Callable[[bytes], object], type[Exception], bytes]] = {
    "sizes": (lambda data: SizeReader().feed(data), ResizeError, b'{"Width":80,"Height":24}'),
    "packets": (parse_packet, PacketError, b"\x02output"),
    "channels": (channels(base64=False), ChannelError, b"\x00input"),
    "base64 channels": (channels(base64=True), ChannelError, b"0aGVsbG8="),
    "pairs": (pairs, StreamRefused, bytes(range(30))),
}


@pytest.mark.parametrize("name", READERS)
def test_5000_broken_inputs_of_the_small_readers(name: str) -> None:
    read, error, good = READERS[name]
    read(good)
    rng = random.Random(name)
    for _ in range(5000):
        try:
            read(bytes(broken([good, good], rng)))
        except error:
            pass
