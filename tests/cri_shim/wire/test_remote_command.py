"""Remote-command sub-protocols, outcomes, terminal sizes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri_shim.wire.remote_command import (
    SPDY_PROTOCOLS,
    UNNAMED,
    WEBSOCKET_PROTOCOLS,
    CommandProtocol,
    Exited,
    Failed,
    StreamType,
    Wanted,
    choose_protocol,
    encode_outcome,
)
from cri_shim.wire.terminal_size import ResizeError, SizeReader, TerminalSize

V1, V2, V3, V4 = (CommandProtocol("", version) for version in (1, 2, 3, 4))


def test_the_clients_order_decides() -> None:
    offered = ["v5.channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io"]
    spdy, websocket = (
        choose_protocol(offered, SPDY_PROTOCOLS),
        choose_protocol(offered, WEBSOCKET_PROTOCOLS),
    )
    assert spdy and spdy.version == 3
    assert websocket and websocket.version == 5
    assert choose_protocol([], SPDY_PROTOCOLS) is UNNAMED
    assert choose_protocol(["v6.channel.k8s.io"], WEBSOCKET_PROTOCOLS) is None


def test_what_each_version_can_do() -> None:
    can = {
        p.name: (p.version, p.base64, p.resizes, p.reports_exit_code, p.closes_channels)
        for p in WEBSOCKET_PROTOCOLS
    }
    assert can == {
        "v5.channel.k8s.io": (5, False, True, True, True),
        "v4.channel.k8s.io": (4, False, True, True, False),
        "v3.channel.k8s.io": (3, False, True, False, False),
        "v2.channel.k8s.io": (2, False, False, False, False),
        "channel.k8s.io": (1, False, False, False, False),
        "v4.base64.channel.k8s.io": (4, True, True, True, False),
        "base64.channel.k8s.io": (1, True, False, False, False),
    }


def test_the_streams_a_client_opens() -> None:
    everything = Wanted(tty=True, stdin=True, stdout=True, stderr=True)
    assert everything.streams(V4) == set(StreamType) - {StreamType.STDERR}
    assert StreamType.RESIZE not in everything.streams(V2)
    assert Wanted(False, False, True, True).streams(V3) == {
        StreamType.ERROR,
        StreamType.STDOUT,
        StreamType.STDERR,
    }


def test_outcomes_as_status() -> None:
    assert encode_outcome(Exited(0), V4) == b'{"metadata":{},"status":"Success"}'
    status = json.loads(encode_outcome(Exited(137), V4))
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "137"}]
    failed = json.loads(encode_outcome(Failed("no such file"), V4))
    assert (failed["status"], failed["reason"]) == ("Failure", "InternalError")
    assert "no such file" in failed["message"]


@pytest.mark.parametrize("protocol", [V1, V2, V3])
def test_outcomes_before_version_4(protocol: CommandProtocol) -> None:
    assert encode_outcome(Exited(0), protocol) == b""
    assert encode_outcome(Exited(3), protocol) == b"command terminated with exit code 3"
    assert encode_outcome(Failed("gone"), protocol) == b"gone"


sizes = st.builds(TerminalSize, st.integers(0, 65535), st.integers(0, 65535))


@given(st.lists(sizes, max_size=5), st.integers(1, 40))
def test_sizes_come_out_wherever_they_are_cut(sent: list[TerminalSize], step: int) -> None:
    wire = b"\n".join(
        json.dumps({"Width": size.width, "Height": size.height}).encode() for size in sent
    )
    reader, got = SizeReader(), []
    for at in range(0, len(wire), step):
        got += reader.feed(wire[at : at + step])
    assert got == sent


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"x",
        b'{"Width":1}',
        b'{"Width":-1,"Height":1}',
        b'{"Width":65536,"Height":1}',
        b'{"Width":1.5,"Height":1}',
        b'{"Width":true,"Height":1}',
        b"{" * 2000,
    ],
)
def test_other_things_than_sizes(text: bytes) -> None:
    with pytest.raises(ResizeError):
        SizeReader().feed(text)
