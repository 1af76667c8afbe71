"""Channels in WebSocket messages."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri_shim.wire.websocket_channels import (
    Channel,
    ChannelClosed,
    ChannelData,
    ChannelError,
    ChannelReader,
    encode,
)


def read(reader: ChannelReader, pieces: list[bytes]) -> bytes:
    """Payload of one message that comes in pieces."""
    out = b""
    for number, piece in enumerate(pieces, 1):
        for event in reader.feed(piece, end=number == len(pieces)):
            assert isinstance(event, ChannelData)
            assert event.channel == Channel.STDOUT
            out += bytes(event.payload)
    return out


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5), st.booleans(), st.integers(1, 7))
def test_messages_round_trip_wherever_they_are_cut(
    payloads: list[bytes], in_base64: bool, step: int
) -> None:
    reader = ChannelReader(in_base64, closes=False)
    for payload in payloads:
        message = encode(Channel.STDOUT, payload, in_base64)
        pieces = [message[at : at + step] for at in range(0, len(message), step)]
        assert read(reader, pieces) == payload


def test_the_base64_form() -> None:
    assert encode(1, b"\xff\x00", base64=True) == b"1" + base64.b64encode(b"\xff\x00")
    assert encode(1, b"\xff\x00", base64=False) == b"\x01\xff\x00"


def test_version_5_closes_a_channel() -> None:
    message = b"\xff\x00"
    assert list(ChannelReader(False, closes=True).feed(message, True)) == [ChannelClosed(0)]
    (event,) = ChannelReader(False, closes=False).feed(message, True)
    assert isinstance(event, ChannelData)
    assert event.channel == 255


def test_empty_messages_mean_nothing() -> None:
    assert list(ChannelReader(False, False).feed(b"", True)) == []
    assert list(ChannelReader(False, False).feed(b"\x00", True)) == []


@pytest.mark.parametrize("message", [b"xAAAA", b"0AAA", b"0!!!!", b"\x00AAAA"])
def test_bad_base64(message: bytes) -> None:
    with pytest.raises(ChannelError):
        list(ChannelReader(True, False).feed(message, True))
