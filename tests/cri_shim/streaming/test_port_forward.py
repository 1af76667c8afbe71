"""Port-forward over SPDY, to real TCP servers on loopback."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cri_shim.streaming.requests import PortForwardRequest
from cri_shim.streaming.server import StreamingServer
from tests.cri_shim.streaming.conftest import Start
from tests.cri_shim.streaming.processes import LocalOpener
from tests.support.spdy_client import SpdyClient

REQUEST = PortForwardRequest("pod", ())
Serve = Callable[
    [Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[int]
]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts TCP servers in place of a pod's; gives their port."""
    servers: list[asyncio.Server] = []

    async def run(
        handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ) -> int:
        async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handle(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()

        servers.append(await asyncio.start_server(closing, "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield run
    for each in servers:
        each.close()
        await each.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def hang_up_hard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection after the first bytes."""
    await reader.read(1)
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Forwarded:
    """A pair of streams, as kubectl opens it: error, whose half it ends, then data."""

    def __init__(self, client: SpdyClient, data: int, error: int) -> None:
        self.client, self.data, self.error = client, data, error

    @classmethod
    async def open(cls, client: SpdyClient, port: int, request_id: str) -> "Forwarded":
        headers = {"port": str(port), "requestid": request_id}
        error = await client.open("error", **headers)
        client.finish(error)
        return cls(client, await client.open("data", **headers), error)

    def received(self) -> bytes:
        return bytes(self.client.data.get(self.data, b""))


async def connect(server: StreamingServer) -> SpdyClient:
    return await SpdyClient.connect(server.url(REQUEST), "portforward.k8s.io")


async def test_there_and_back_with_half_close(
    server: StreamingServer, opener: LocalOpener, serve: Serve
) -> None:
    port = await serve(echo)
    client = await connect(server)
    sent = random.Random(1).randbytes(3_000_000)
    pair = await Forwarded.open(client, port, "0")
    await client.send(pair.data, sent, fin=True)
    await client.until_finished(pair.data, pair.error)
    assert pair.received() == sent
    assert client.data[pair.error] == b""
    assert opener.dialled == [("pod", port)]


async def test_many_connections_over_one_session_with_a_reset_peer(
    server: StreamingServer, serve: Serve
) -> None:
    good, bad = await serve(echo), await serve(hang_up_hard)
    client = await connect(server)
    pairs = [await Forwarded.open(client, good, str(number)) for number in range(100)]
    broken = await Forwarded.open(client, bad, "bad")
    for number, pair in enumerate(pairs[:50]):
        await client.send(pair.data, b"%d" % number)
    await client.send(broken.data, b"x" * 100_000)
    await client.until(lambda: broken.data in client.resets or broken.data in client.finished)
    await client.until_finished(broken.error)
    assert client.data[broken.error] == b"", "a word here ends a Go client's whole session"
    for number, pair in enumerate(pairs):
        await client.send(pair.data, b"!", fin=True)
        await client.until_finished(pair.data, pair.error)
        assert pair.received() == (b"%d!" % number if number < 50 else b"!")
    assert not client.ended


async def test_a_port_nobody_listens_on(server: StreamingServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = await connect(server)
        pair = await Forwarded.open(client, port, "0")
        await client.until_finished(pair.data, pair.error)
    assert f"error forwarding port {port}: ".encode() in client.data[pair.error]
    assert not client.ended


async def test_the_pods_end_comes_at_once_and_ends_the_error_stream(
    server: StreamingServer, serve: Serve
) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    client = await connect(server)
    pair = await Forwarded.open(client, await serve(greet), "0")
    await client.until_finished(pair.data, pair.error)
    assert pair.received() == b"bye"


async def test_a_stream_the_client_resets_closes_its_connection(
    server: StreamingServer, serve: Serve
) -> None:
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        closed.set()

    port = await serve(wait)
    client = await connect(server)
    pair = await Forwarded.open(client, port, "0")
    await client.send(pair.data, b"hello")
    client.reset(pair.data)
    async with asyncio.timeout(5):
        await closed.wait()
    await client.until_finished(pair.error)


async def test_a_client_that_leaves_closes_all(server: StreamingServer, serve: Serve) -> None:
    left = asyncio.Semaphore(0)

    async def wait(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.release()

    port = await serve(wait)
    client = await connect(server)
    for number in range(10):
        pair = await Forwarded.open(client, port, str(number))
        await client.send(pair.data, b"x")
    client.abort()
    async with asyncio.timeout(5):
        for _ in range(10):
            await left.acquire()


async def test_streams_that_make_no_sense_are_refused_alone(
    server: StreamingServer, serve: Serve
) -> None:
    port = await serve(echo)
    client = await connect(server)
    refused = [
        await client.open("data", port="0", requestid="a"),
        await client.open("data", port="x", requestid="b"),
        await client.open("data", requestid="c"),
        await client.open("stdin", port="1", requestid="d"),
    ]
    assert client.resets.keys() == set(refused)
    error = await client.open("error", port=str(port), requestid="e")
    again = await client.open("error", port=str(port), requestid="e")
    await client.until(lambda: again in client.resets)
    await client.until(lambda: bool(client.data.get(error)))
    assert b"error stream already assigned" in client.data[error]
    pair = await Forwarded.open(client, port, "f")
    await client.send(pair.data, b"well", fin=True)
    await client.until_finished(pair.data)
    assert pair.received() == b"well"


async def test_half_a_pair_is_reset_in_time(start: Start) -> None:
    client = await connect(await start(creation_timeout=0.1))
    error = await client.open("error", port="80", requestid="0")
    await client.until(lambda: error in client.resets)
    assert not client.ended


async def test_streams_of_ended_connections_are_forgotten(
    server: StreamingServer, serve: Serve
) -> None:
    port = await serve(echo)
    client = await connect(server)
    for number in range(30):
        pair = await Forwarded.open(client, port, str(number))
        await client.send(pair.data, b"x", fin=True)
        await client.until_finished(pair.data, pair.error)
    assert client.session.open_streams == 0
    (connection,) = server._connections
    endpoint = connection.receiver.__self__  # type: ignore[attr-defined] # a bound method
    assert not endpoint._streams
    assert not len(endpoint._session._streams)
