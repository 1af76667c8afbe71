"""conmon's packets and control lines."""

import pytest

from cri_shim.wire.conmon_packets import (
    REOPEN_LOG_LINE,
    Output,
    PacketError,
    Pipe,
    parse_packet,
    resize_line,
)


def test_packets() -> None:
    assert parse_packet(b"\x02out\xff") == Output(Pipe.STDOUT, memoryview(b"out\xff"))
    assert parse_packet(b"\x03") == Output(Pipe.STDERR, memoryview(b""))


@pytest.mark.parametrize("packet", [b"", b"\x00x", b"\x01x", b"\x04x"])
def test_packets_of_something_else(packet: bytes) -> None:
    with pytest.raises(PacketError):
        parse_packet(packet)


def test_control_lines() -> None:
    assert resize_line(width=80, height=24) == b"1 24 80\n"
    assert resize_line(width=5000, height=1001) == b"1 1000 1000\n"
    assert REOPEN_LOG_LINE == b"2 0 0\n"
