"""Attaching to a container through conmon's socket."""

import asyncio
import socket

import pytest

from berth.base.errors import FailedPrecondition
from cri_shim.runtime import attach, control_fifo
from cri_shim.wire.conmon_packets import MAX_STDIN
from tests.support.containers import Boxes, until

STDOUT, STDERR = 2, 3


async def receive(client: socket.socket, wanted: bytes) -> dict[int, bytes]:
    """Packets until some stream holds `wanted`, by stream number."""
    loop = asyncio.get_running_loop()
    streams: dict[int, bytes] = {}
    async with asyncio.timeout(10):
        while not any(wanted in data for data in streams.values()):
            packet = await loop.sock_recv(client, 16384)
            if not packet:
                break
            streams[packet[0]] = streams.get(packet[0], b"") + packet[1:]
    return streams


async def test_live_output_without_history_to_several_clients(boxes: Boxes) -> None:
    script = "echo before; read x; echo out $x; echo err >&2; sleep 1000"
    box = await boxes.run("sh", "-c", script, stdin=True)
    await until(box.lines)
    with await attach.attach(box.bundle) as one, await attach.attach(box.bundle) as two:
        await asyncio.get_running_loop().sock_sendall(one, b"typed\n")
        for client in (one, two):
            streams = await receive(client, b"err\n")
            assert streams == {STDOUT: b"out typed\n", STDERR: b"err\n"}


async def test_stdin_stays_open_for_the_next_client(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "read x; echo 1$x; read x; echo 2$x", stdin=True)
    loop = asyncio.get_running_loop()
    for word in ("a", "b"):
        with await attach.attach(box.bundle) as client:
            await loop.sock_sendall(client, f"{word}\n".encode())
            await receive(client, b"\n")
    await box.end()
    assert [line.rsplit(" ", 1)[1] for line in box.lines()] == ["1a", "2b"]


async def test_stdin_once_ends_with_its_client(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "cat; echo end", stdin=True, stdin_once=True)
    loop = asyncio.get_running_loop()
    with await attach.attach(box.bundle) as client:
        big = b"x" * MAX_STDIN
        await loop.sock_sendall(client, big)
        await loop.sock_sendall(client, b"\n")
        client.shutdown(socket.SHUT_WR)
        streams = await receive(client, b"end\n")
    assert streams[STDOUT] == big + b"\nend\n"
    assert (await box.end()).code == 0


async def test_a_terminal_is_resized(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "read x; stty size; sleep 1000", terminal=True, stdin=True)
    assert control_fifo.resize(box.bundle, 99, 33)
    loop = asyncio.get_running_loop()
    with await attach.attach(box.bundle) as client:
        await loop.sock_sendall(client, b"go\n")
        streams = await receive(client, b"33 99")
    assert b"33 99\r\n" in streams[STDOUT] or b"33 99" in streams[STDOUT]


async def test_a_container_without_stdin_can_be_attached(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "while :; do echo tick; sleep 0.05; done")
    with await attach.attach(box.bundle) as client:
        await asyncio.get_running_loop().sock_sendall(client, b"ignored\n")
        assert STDOUT in await receive(client, b"tick\n")


async def test_after_the_end_there_is_nothing_to_attach_to(boxes: Boxes) -> None:
    box = await boxes.run("true")
    await box.end()
    await until(lambda: not control_fifo.resize(box.bundle, 1, 1))
    with pytest.raises(FailedPrecondition, match="the container has ended"):
        await attach.attach(box.bundle)
