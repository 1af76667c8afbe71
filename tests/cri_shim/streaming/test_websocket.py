"""WebSocket, through clients that others wrote: `kubernetes.stream` and `websocket-client`."""

import asyncio
import base64
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import websocket
from kubernetes.stream.ws_client import PortForward

from cri_shim.streaming.requests import PortForwardRequest
from cri_shim.streaming.server import StreamingServer
from tests.cri_shim.streaming.conftest import Start, command
from tests.cri_shim.streaming.processes import LocalOpener
from tests.support.websocket_clients import connect, kube


async def in_thread(work: Callable[[], Any]) -> Any:
    async with asyncio.timeout(20):
        return await asyncio.to_thread(work)


async def test_outputs_and_exit_code(server: StreamingServer) -> None:
    url = server.url(command("sh", "-c", "printf 'out\\377'; echo err >&2; exit 7"))

    def work() -> Any:
        client = kube(url)
        client.run_forever(timeout=10)
        return client.read_channel(1), client.read_channel(2), client.returncode

    assert await in_thread(work) == (b"out\xff", b"err\n", 7)


@pytest.mark.parametrize("size", [1, 3_000_000])
async def test_stdin_closed_by_version_5(server: StreamingServer, size: int) -> None:
    url = server.url(command("sh", "-c", "cat; echo end", stdin=True))
    sent = os.urandom(size)

    def work() -> Any:
        client = kube(url)
        assert client.subprotocol == "v5.channel.k8s.io"
        for at in range(0, size, 500_000):
            client.write_stdin(sent[at : at + 500_000])
            client.update(timeout=0)
        client.close_channel(0)
        client.run_forever(timeout=10)
        return client.read_channel(1), client.returncode

    assert await in_thread(work) == (sent + b"end\n", 0)


async def test_text_messages_on_a_binary_protocol(server: StreamingServer) -> None:
    """The Kubernetes client sends str as text frames."""
    url = server.url(command("head", "-n", "1", stdin=True))

    def work() -> Any:
        client = kube(url, binary=False, protocol="v4.channel.k8s.io")
        client.write_stdin("grüße\n")
        client.run_forever(timeout=10)
        return client.returncode, client.read_all()

    assert await in_thread(work) == (0, "grüße\n")


async def test_terminal_and_resize(server: StreamingServer) -> None:
    script = 'until [ "$(stty size)" = "17 91" ]; do :; done; read x; echo "got $x"; exit 2'
    url = server.url(command("sh", "-c", script, tty=True, stdin=True))

    def work() -> Any:
        client = kube(url)
        client.write_channel(4, json.dumps({"Width": 91, "Height": 17}))
        client.write_stdin("word\n")
        client.run_forever(timeout=10)
        return client.read_channel(1), client.returncode

    out, code = await in_thread(work)
    assert b"got word\r\n" in out
    assert code == 2


async def test_base64_channels(server: StreamingServer) -> None:
    url = server.url(command("sh", "-c", "head -c 4; printf '\\377'; exit 1", stdin=True))

    def work() -> Any:
        client = connect(url, "v4.base64.channel.k8s.io")
        assert client.getsubprotocol() == "v4.base64.channel.k8s.io"
        client.send("0" + base64.b64encode(b"\xfe\x00ab").decode())
        outputs = {b"1": b"", b"3": b""}
        while True:
            opcode, data = client.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return outputs
            assert opcode == websocket.ABNF.OPCODE_TEXT
            outputs[data[:1]] += base64.b64decode(data[1:], validate=True)

    outputs = await in_thread(work)
    assert outputs[b"1"] == b"\xfe\x00ab\xff"
    assert json.loads(outputs[b"3"])["details"]["causes"][0]["message"] == "1"


async def test_a_client_that_names_no_protocol(server: StreamingServer) -> None:
    url = server.url(command("sh", "-c", "echo hi; exit 9"))

    def work() -> Any:
        client = connect(url)
        messages = []
        while True:
            opcode, data = client.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return messages
            messages.append(bytes(data))

    messages = await in_thread(work)
    assert messages[0] == b"\x01", "an empty message says that the streams are there"
    assert messages[1:] == [b"\x01hi\n", b"\x03command terminated with exit code 9"]


async def test_no_common_protocol(server: StreamingServer) -> None:
    url = server.url(command("true"))
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        await in_thread(lambda: connect(url, "v9.channel.k8s.io"))


@pytest.mark.parametrize(
    ("message", "code"),
    [(b"\x09x", 1003), (b"\x05x", 1003)],
)
async def test_channels_that_do_not_exist(
    server: StreamingServer, opener: LocalOpener, message: bytes, code: int
) -> None:
    url = server.url(command("sleep", "1000", stdin=True))

    def work() -> Any:
        client = connect(url, "v4.channel.k8s.io")
        client.send_binary(message)
        while True:
            opcode, data = client.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big")

    assert await in_thread(work) == code
    assert await opener.execs[0].process.wait() == 137


async def test_frames_without_a_mask(server: StreamingServer, opener: LocalOpener) -> None:
    url = server.url(command("sleep", "1000", stdin=True))

    def work() -> Any:
        client = connect(url, "v4.channel.k8s.io")
        client.sock.sendall(b"\x82\x02\x00x")
        while True:
            opcode, data = client.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big")

    assert await in_thread(work) == 1002
    assert await opener.execs[0].process.wait() == 137


async def test_pings_are_answered_and_closing_ends_the_command(
    server: StreamingServer, opener: LocalOpener
) -> None:
    url = server.url(command("sleep", "1000", stdin=True))

    def work() -> Any:
        client = connect(url, "v5.channel.k8s.io")
        client.ping("are you there")
        while True:
            opcode, frame = client.recv_data_frame(True)
            if opcode == websocket.ABNF.OPCODE_PONG:
                break
        client.close()
        return bytes(frame.data)

    assert await in_thread(work) == b"are you there"
    assert await opener.execs[0].process.wait() == 137


async def test_port_forward(server: StreamingServer, echo_port: int) -> None:
    url = server.url(PortForwardRequest("pod", (echo_port, 1)))
    sent = os.urandom(300_000)

    def work() -> Any:
        forward = PortForward(connect(url, "v4.channel.k8s.io"), [echo_port, 1])
        sock = forward.socket(echo_port)
        sock.settimeout(10)
        sock.sendall(sent)
        got = b""
        while len(got) < len(sent):
            got += sock.recv(1 << 20)
        deadline = time.monotonic() + 10
        while not forward.error(1) and time.monotonic() < deadline:
            time.sleep(0.01)
        error = forward.error(1)
        forward.close()
        return got, error

    got, error = await in_thread(work)
    assert got == sent
    assert error.startswith("error forwarding port 1: ")


async def test_version_1_of_port_forward_names_no_protocol(
    server: StreamingServer, echo_port: int
) -> None:
    url = server.url(PortForwardRequest("pod", (echo_port,)))

    def work() -> Any:
        client = connect(url)
        preambles = [client.recv(), client.recv()]
        client.send_binary(b"\x00hello")
        answer = client.recv()
        client.close()
        return preambles, answer

    preambles, answer = await in_thread(work)
    port = echo_port.to_bytes(2, "little")
    assert preambles == [b"\x00" + port, b"\x01" + port]
    assert answer == b"\x00hello"


async def test_an_idle_client(start: Start) -> None:
    server = await start(idle_timeout=0.2)
    url = server.url(command("sleep", "1000", stdin=True))

    def work() -> Any:
        client = connect(url, "v4.channel.k8s.io")
        client.recv()
        with pytest.raises((websocket.WebSocketException, OSError)):
            client.recv()

    await in_thread(work)


@pytest.mark.parametrize("seed", range(20))
async def test_garbage_after_the_upgrade(
    server: StreamingServer, opener: LocalOpener, seed: int
) -> None:
    """The connection ends or goes on, its process ends with it, and the next client is served."""
    rng = random.Random(seed)
    garbage = rng.randbytes(rng.randrange(1, 3000))
    if seed % 2:
        garbage = (
            bytes((0x80 | rng.choice((0, 1, 2, 8, 9, 10)), 0x80 | rng.randrange(128))) + garbage
        )
    url = server.url(command("cat", stdin=True))

    def work() -> None:
        client = connect(url, "v5.channel.k8s.io")
        client.sock.sendall(garbage)
        client.shutdown()

    await in_thread(work)
    async with asyncio.timeout(10):
        while server._connections or not all(session.closed for session in opener.execs):
            await asyncio.sleep(0.001)

    def next_client() -> Any:
        client = kube(server.url(command("true")))
        client.run_forever(timeout=10)
        return client.returncode

    assert await in_thread(next_client) == 0
