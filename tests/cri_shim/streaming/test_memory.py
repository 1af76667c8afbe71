"""Backpressure: a gigabyte goes through, a slow reader holds the process back, memory stays."""

import asyncio
import os
import random
import socket
from pathlib import Path

import pytest

from cri_shim.streaming import connection as connection_module
from cri_shim.streaming.requests import PortForwardRequest
from cri_shim.streaming.server import StreamingServer
from tests.cri_shim.streaming.conftest import command
from tests.cri_shim.streaming.processes import LocalOpener
from tests.support.spdy_client import Exec, SpdyClient

GIB = 1 << 30
MOST = 20 << 20


class Peak:
    """The growth of this process's resident memory at its highest; server and client live here."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")
        self._before = self._kib("VmRSS")

    def growth(self) -> int:
        return (self._kib("VmHWM") - self._before) * 1024

    @staticmethod
    def _kib(name: str) -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
        raise LookupError(name)


async def test_a_gibibyte_through_exec(server: StreamingServer) -> None:
    run = await Exec.start(server.url(command("head", "-c", str(GIB), "/dev/zero")))
    run.client.keep = False
    peak = Peak()
    assert await run.code() == 0
    assert run.client.counts[run.streams["stdout"]] == GIB
    assert peak.growth() < MOST


async def test_a_gibibyte_through_port_forward(server: StreamingServer) -> None:
    zeros = memoryview(bytes(1 << 20))

    async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(GIB >> 20):
            writer.write(zeros)
            await writer.drain()
        writer.close()

    pod = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = str(pod.sockets[0].getsockname()[1])
    client = await SpdyClient.connect(
        server.url(PortForwardRequest("pod", ())), "portforward.k8s.io"
    )
    client.keep = False
    peak = Peak()
    await client.open("error", port=port, requestid="0")
    data = await client.open("data", port=port, requestid="0")
    await client.until_finished(data)
    assert client.counts[data] == GIB
    assert peak.growth() < MOST
    pod.close()
    await pod.wait_closed()


async def test_a_reader_that_stops_holds_the_process_back(
    server: StreamingServer, opener: LocalOpener
) -> None:
    run = await Exec.start(server.url(command("head", "-c", str(GIB), "/dev/zero")))
    run.client.keep = False
    run.client.hold()
    peak = Peak()
    (connection,) = server._connections
    async with asyncio.timeout(10):
        while connection._writable.is_set():
            await asyncio.sleep(0.01)
    for _ in range(50):
        assert connection.unsent < 1 << 20
        await asyncio.sleep(0)
    assert opener.execs[0].process.code is None
    assert peak.growth() < MOST
    run.client.go_on()
    assert await run.code() == 0
    assert run.client.counts[run.streams["stdout"]] == GIB
    assert peak.growth() < MOST


async def test_a_process_that_does_not_read_holds_the_client_back(
    server: StreamingServer, tmp_path: Path
) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    url = server.url(
        command("sh", "-c", "read go < $0; exec cat > /dev/null", str(fifo), stdin=True)
    )
    run = await Exec.start(url, "error stdin stdout stderr")
    (connection,) = server._connections
    peak = Peak()
    piece = bytes(1 << 20)
    sent = 0
    while "input" not in connection._pauses:
        await run.send(piece)
        sent += len(piece)
        assert sent < 64 << 20
        await asyncio.sleep(0)
    assert peak.growth() < MOST
    fifo.write_text("go\n")
    await run.send(piece, fin=True)
    assert await run.code() == 0


async def test_a_client_that_asks_and_never_reads_is_not_read_for_ever(
    server: StreamingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "WRITE_LIMIT", 300_000)
    run = await Exec.start(server.url(command("cat", stdin=True)), "error stdin stdout stderr")
    run.client.hold()
    (connection,) = server._connections
    ours: socket.socket = connection._transport.get_extra_info("socket")
    theirs: socket.socket = run.client.writer.get_extra_info("socket")
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    pings = b"".join(
        b"\x80\x03\x00\x06\x00\x00\x00\x04" + (2 * n + 1).to_bytes(4, "big") for n in range(20_000)
    )
    peak = Peak()
    async with asyncio.timeout(20):
        while "output" not in connection._pauses:
            run.client.writer.write(pings)
            await asyncio.sleep(0)
    assert connection.unsent < 1 << 20
    assert peak.growth() < MOST


async def test_a_client_that_keeps_windows_is_not_overrun(server: StreamingServer) -> None:
    client = await SpdyClient.connect(
        server.url(command("head", "-c", "1000000", "/dev/zero")), "v4.channel.k8s.io"
    )
    client.returns_windows = True
    client.session.announce_window(10_000)
    client.flush()
    streams = [await client.open(kind) for kind in ("error", "stdout", "stderr")]
    assert await client.exit_code(streams[0]) == 0
    assert client.counts[streams[1]] == 1_000_000
    biggest = max(client.largest.values())
    assert biggest <= 10_000


async def test_descriptors_come_back(server: StreamingServer, opener: LocalOpener) -> None:
    async def one(leave: bool) -> None:
        run = await Exec.start(server.url(command("cat", stdin=True)), "error stdin stdout stderr")
        if leave:
            run.client.abort()
        else:
            await run.send(b"x", fin=True)
            assert await run.code() == 0
        await run.client.close()

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def quiet() -> int:
        async with asyncio.timeout(10):
            while server._connections or len(server._tasks) or len(server._closing):
                await asyncio.sleep(0.001)
        return descriptors()

    await one(leave=False)
    before = await quiet()
    for number in range(30):
        await one(leave=number % 2 == 0)
    assert await quiet() <= before


@pytest.mark.parametrize("seed", range(40))
async def test_garbage_after_the_upgrade(
    server: StreamingServer, opener: LocalOpener, seed: int
) -> None:
    """The connection ends or goes on, its process ends with it, and the next client is served."""
    rng = random.Random(seed)
    run = await Exec.start(server.url(command("cat", stdin=True)), "error stdin stdout stderr")
    garbage = bytearray(rng.randbytes(rng.randrange(1, 3000)))
    if seed % 2:
        garbage[:8] = b"\x80\x03\x00" + bytes((rng.randrange(1, 10),)) + b"\0\0\0\x20"
    run.client.writer.write(garbage)
    await run.client.writer.drain()
    run.client.abort()
    assert await opener.execs[0].process.wait() in (0, 137)
    assert await (await Exec.start(server.url(command("true")))).code() == 0
