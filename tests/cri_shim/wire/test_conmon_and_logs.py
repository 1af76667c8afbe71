"""conmon's packets and control lines; CRI log lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri_shim.wire.conmon_packets import (
    REOPEN_LOG_LINE,
    Output,
    PacketError,
    Pipe,
    parse_packet,
    resize_line,
)
from cri_shim.wire.log_lines import LogLine, LogLineError, join_partials, parse_line


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


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        (
            b"2016-10-06T00:17:09.669794202Z stdout F a b \n",
            LogLine(1475713029669794202, "stdout", False, b"a b "),
        ),
        (b"1970-01-01T01:00:00+01:00 stderr P \xff\x00", LogLine(0, "stderr", True, b"\xff\x00")),
        (b"1970-01-01T00:00:01.5Z stdout F", LogLine(1_500_000_000, "stdout", False, b"")),
        (b"1970-01-01T00:00:00Z stdout F:later text", LogLine(0, "stdout", False, b"text")),
    ],
)
def test_log_lines(line: bytes, parsed: LogLine) -> None:
    assert parse_line(line) == parsed


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"plain text",
        b"2016-13-06T00:17:09Z stdout F x",
        b"2016-10-06T00:17:09Z stdin F x",
        b"2016-10-06T00:17:09Z stdout X x",
        b"2016-10-06T00:17:09.1234567890Z stdout F x",
    ],
)
def test_lines_of_something_else(line: bytes) -> None:
    with pytest.raises(LogLineError):
        parse_line(line)


def entry(stream: str, partial: bool, text: bytes) -> LogLine:
    return LogLine(0, stream, partial, text)


def test_partials_join_by_stream() -> None:
    entries = [
        entry("stdout", True, b"o1"),
        entry("stderr", True, b"e1"),
        entry("stdout", False, b"o2"),
        entry("stderr", False, b"e2"),
        entry("stdout", True, b"cut"),
    ]
    assert [(line.stream, line.partial, line.text) for line in join_partials(entries)] == [
        ("stdout", False, b"o1o2"),
        ("stderr", False, b"e1e2"),
        ("stdout", True, b"cut"),
    ]


@given(st.lists(st.binary(max_size=30).filter(lambda b: b"\n" not in b), max_size=10))
def test_split_lines_join_to_what_they_were(pieces: list[bytes]) -> None:
    entries = [entry("stdout", True, piece) for piece in pieces] + [entry("stdout", False, b"")]
    assert b"".join(line.text for line in join_partials(entries)) == b"".join(pieces)
