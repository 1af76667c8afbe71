"""Attach, with the test as conmon on the other end of the socket."""

import asyncio

from cri_shim.streaming.requests import AttachRequest
from cri_shim.streaming.server import StreamingServer
from cri_shim.wire.remote_command import Wanted
from tests.cri_shim.streaming.processes import LocalOpener
from tests.support.spdy_client import Exec


async def attach(server: StreamingServer, opener: LocalOpener, tty: bool = False) -> Exec:
    request = AttachRequest("c", Wanted(tty, True, True, not tty))
    kinds = "error stdin stdout " + ("resize" if tty else "stderr")
    run = await Exec.start(server.url(request), kinds)
    async with asyncio.timeout(5):
        while not opener.conmon:
            await asyncio.sleep(0)
    return run


async def test_outputs_by_their_packets(server: StreamingServer, opener: LocalOpener) -> None:
    run = await attach(server, opener)
    (conmon,) = opener.conmon
    for packet in (b"\x02out\xff", b"\x03err", b"\x02" + b"x" * 8192):
        conmon.send(packet)
    conmon.close()
    assert await run.code() == 0
    assert run.output() == b"out\xff" + b"x" * 8192
    assert run.output("stderr") == b"err"


async def test_stdin_in_packets_that_conmon_can_read(
    server: StreamingServer, opener: LocalOpener
) -> None:
    run = await attach(server, opener)
    (conmon,) = opener.conmon
    sent = bytes(range(256)) * 1024
    await run.send(sent, fin=True)
    loop, got = asyncio.get_running_loop(), b""
    while packet := await loop.sock_recv(conmon, 1 << 20):
        assert len(packet) <= 32768
        got += packet
    assert got == sent
    conmon.send(b"\x02still open")
    await run.client.until(lambda: run.output() == b"still open")
    conmon.close()
    assert await run.code() == 0


async def test_a_client_that_detaches_closes_only_its_socket(
    server: StreamingServer, opener: LocalOpener
) -> None:
    run = await attach(server, opener)
    (conmon,) = opener.conmon
    run.client.abort()
    assert await asyncio.get_running_loop().sock_recv(conmon, 100) == b""
    conmon.close()


async def test_resize(server: StreamingServer, opener: LocalOpener) -> None:
    run = await attach(server, opener, tty=True)
    await run.client.send(run.streams["resize"], b'{"Width":100,"Height":40}')
    async with asyncio.timeout(5):
        while opener.attached[0].sizes != [(100, 40)]:
            await asyncio.sleep(0.001)
    opener.conmon[0].close()
    assert await run.code() == 0


async def test_several_clients(server: StreamingServer, opener: LocalOpener) -> None:
    first = await attach(server, opener)
    second = await Exec.start(
        server.url(AttachRequest("c", Wanted(False, False, True, True))), "error stdout stderr"
    )
    async with asyncio.timeout(5):
        while len(opener.conmon) < 2:
            await asyncio.sleep(0)
    for conmon in opener.conmon:
        conmon.send(b"\x02all")
        conmon.close()
    assert [await first.code(), await second.code()] == [0, 0]
    assert first.output() == second.output() == b"all"


async def test_something_else_than_conmon(server: StreamingServer, opener: LocalOpener) -> None:
    run = await attach(server, opener)
    opener.conmon[0].send(b"\x07?")
    status = await run.client.status(run.streams["error"])
    assert "not a stream number" in str(status["message"])
    opener.conmon[0].close()
