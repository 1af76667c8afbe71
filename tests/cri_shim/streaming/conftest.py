"""A running server for each test."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cri_shim.streaming.limits import Limits
from cri_shim.streaming.requests import ExecRequest
from cri_shim.streaming.server import StreamingServer
from cri_shim.wire.remote_command import Wanted
from tests.cri_shim.streaming.processes import LocalOpener
from tests.support import websocket_clients
from tests.support.spdy_client import SpdyClient

Start = Callable[..., Awaitable[StreamingServer]]

LIMITS = dataclasses.replace(Limits(), linger=1, drain_quiet=0.1, keepalive=0.1)


@pytest.fixture
def opener() -> LocalOpener:
    return LocalOpener()


@pytest.fixture
async def start(opener: LocalOpener) -> AsyncIterator[Start]:
    """Starts servers with other limits than usual."""
    servers: list[StreamingServer] = []

    async def run(**limits: float) -> StreamingServer:
        chosen = dataclasses.replace(LIMITS, **limits)  # type: ignore[arg-type] # counts and times
        servers.append(StreamingServer(opener, limits=chosen))
        await servers[-1].start()
        return servers[-1]

    yield run
    websocket_clients.close_all()
    while SpdyClient.opened:
        await SpdyClient.opened.pop().close()
    for server in servers:
        await server.close()
    for command in opener.execs:
        assert command.closed, "a command outlived the server"
        # Killed by its close, but reaped by the loop: which must get to it before it ends itself.
        await command.process.wait()


@pytest.fixture
async def server(start: Start) -> StreamingServer:
    return await start()


def command(
    *argv: str | bytes,
    tty: bool = False,
    stdin: bool = False,
    stdout: bool = True,
    stderr: bool = True,
    container: str = "c",
) -> ExecRequest:
    """A request to run `argv`."""
    words = tuple(word.encode() if isinstance(word, str) else word for word in argv)
    return ExecRequest(container, words, Wanted(tty, stdin, stdout, stderr and not tty))


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    """The port of a server that says back what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
