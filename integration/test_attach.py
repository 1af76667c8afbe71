"""Attaching to real containers: what they say from now on, to several clients, and their stdin."""

import asyncio
import hashlib
import os
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods, streams
from tests.support.containers import until
from tests.support.shim import Shim, running
from tests.support.websocket_clients import kube

ECHO = (
    "echo before; echo up > /up; "
    'while read -r x; do echo "got $x"; echo "err $x" >&2; done; echo end; sleep 1000'
)
IMAGE = "example.org/busybox:1"


pytestmark = pytest.mark.usefixtures("clients")


def run(shim: Shim, pod: str, script: str = ECHO, **fields: bool) -> str:
    """A container that has written its first words."""
    config = pods.container_config(IMAGE, ["/bin/sh", "-c", script], **fields)
    container = pods.run_container(shim, pod, config)
    pods.until(lambda: pods.execute(shim, container, "test", "-e", "/up").exit_code == 0, "up")
    return container


async def test_from_now_on_and_for_all_clients(shim: Shim, pod: str) -> None:
    container = run(shim, pod, stdin=True)
    url = streams.attach_url(shim, container, stdin=True)
    first = await streams.spdy(url, stdin=True)
    second = await streams.spdy(streams.attach_url(shim, container))
    await until_attached(shim, container, 2)
    await first.send(b"gr\xfc\xdfe\n")
    for client in (first, second):
        await streams.says(client, b"err gr\xfc\xdfe\n", "stderr")
        await streams.says(client, b"got gr\xfc\xdfe\n")
        assert client.output() == b"got gr\xfc\xdfe\n"


async def test_leaving_does_not_end_it(shim: Shim, pod: str) -> None:
    container = run(shim, pod, stdin=True)
    before = descriptors(shim)
    for word in (b"one", b"two"):
        url = streams.attach_url(shim, container, stdin=True)
        client = await streams.spdy(url, stdin=True)
        await client.send(word + b"\n")
        await streams.says(client, b"got " + word + b"\n")
        assert b"before" not in client.output()
        client.client.abort()
        await until(lambda: descriptors(shim) == before)
    assert pods.status(shim, container).state == cri.CONTAINER_RUNNING


@pytest.mark.parametrize("how", ["half a close", "leaving"])
async def test_stdin_once_ends_with_its_first_client(shim: Shim, pod: str, how: str) -> None:
    container = run(shim, pod, stdin=True, stdin_once=True)
    second = await streams.spdy(streams.attach_url(shim, container))
    await until_attached(shim, container, 1)
    first = await streams.spdy(streams.attach_url(shim, container, stdin=True), stdin=True)
    await first.send(b"word\n")
    await streams.says(first, b"got word\n")
    if how == "leaving":
        first.client.abort()
    else:
        await first.send(b"", fin=True)
    await streams.says(second, b"end\n")
    assert pods.status(shim, container).state == cri.CONTAINER_RUNNING


async def test_terminal(shim: Shim, pod: str) -> None:
    script = (
        'echo before; echo up > /up; until [ "$(stty size)" = "37 133" ]; do :; done; '
        "echo sized; read x; echo got $x; exit 3"
    )
    container = run(shim, pod, script, tty=True, stdin=True)
    url = streams.attach_url(shim, container, tty=True, stdin=True)
    client = await streams.spdy(url, tty=True, stdin=True)
    await streams.resize(client, 133, 37)
    await streams.says(client, b"sized\r\n")
    await client.send(b"word\n")
    await streams.says(client, b"got word\r\n")
    await client.client.until(lambda: client.client.ended)
    assert b"before" not in client.output()
    assert pods.until_exited(shim, container).exit_code == 3


async def test_without_stdin(shim: Shim, pod: str) -> None:
    script = "echo up > /up; while :; do echo tick; sleep 0.02; done"
    container = run(shim, pod, script)
    url = streams.attach_url(shim, container, stdin=True)
    client = await streams.spdy(url, stdin=True)
    await client.send(b"nobody reads this\n", fin=True)
    await streams.says(client, b"tick\ntick\n")


async def test_it_ends_with_the_container(shim: Shim, pod: str) -> None:
    container = run(shim, pod, stdin=True)
    client = await streams.spdy(streams.attach_url(shim, container))
    await until_attached(shim, container, 1)
    await asyncio.to_thread(pods.stop, shim, container)
    assert await client.code() == 0
    await client.client.until(lambda: client.client.ended)
    with pytest.raises(grpc.RpcError) as error:
        streams.attach_url(shim, container)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_much_output_comes_whole(shim: Shim, pod: str) -> None:
    script = "echo up > /up; read x; yes 0123456789abcde | head -c 8388608; read x"
    container = run(shim, pod, script, stdin=True)
    client = await streams.spdy(streams.attach_url(shim, container, stdin=True), stdin=True)
    await client.send(b"go\n")
    await client.client.until(lambda: len(client.output()) >= 8 << 20)
    assert client.output() == b"0123456789abcde\n" * (8 << 16)


async def test_much_input_comes_whole(shim: Shim, pod: str) -> None:
    container = run(shim, pod, "echo up > /up; sleep 0.5; sha256sum; sleep 1000", stdin=True,
                    stdin_once=True)  # fmt: skip
    sent = bytes(range(256)) * (8 << 12)
    client = await streams.spdy(streams.attach_url(shim, container, stdin=True), stdin=True)
    await client.send(sent, fin=True)
    await streams.says(client, b"  -\n")
    assert client.output().split()[0].decode() == hashlib.sha256(sent).hexdigest()


async def test_websocket(shim: Shim, pod: str) -> None:
    container = run(shim, pod, stdin=True)
    url = streams.attach_url(shim, container, stdin=True)

    def work() -> tuple[bytes, bytes]:
        client = kube(url)
        client.write_stdin(b"word\n")
        out, err = b"", b""
        while not (out.endswith(b"\n") and err.endswith(b"\n")):
            client.update(timeout=5)
            out += client.read_channel(1, timeout=0)
            err += client.read_channel(2, timeout=0)
        client.close()
        return out, err

    assert await asyncio.to_thread(work) == (b"got word\n", b"err word\n")


async def test_after_the_daemon_was_killed(tmp_path: Path, layout: Path) -> None:
    with running(tmp_path / "shim") as shim:
        shim.load(layout, IMAGE)
        container = run(shim, pods.run_pod(shim), stdin=True)
        client = await streams.spdy(streams.attach_url(shim, container, stdin=True), stdin=True)
        await client.send(b"one\n")
        await streams.says(client, b"got one\n")
        await asyncio.to_thread(shim.restart)
        await client.client.until(lambda: client.client.ended)
        client = await streams.spdy(streams.attach_url(shim, container, stdin=True), stdin=True)
        await client.send(b"two\n")
        await streams.says(client, b"got two\n")
        assert client.output() == b"got two\n"


async def until_attached(shim: Shim, container: str, number: int) -> None:
    """conmon has taken so many clients: a socket each, besides the one that it listens on."""
    pid = int((shim.state / "containers" / container / "conmon.pid").read_text())
    await until(lambda: sockets(pid) == 1 + number)


def sockets(pid: int) -> int:
    return sum(os.readlink(fd).startswith("socket:") for fd in Path(f"/proc/{pid}/fd").iterdir())


def descriptors(shim: Shim) -> int:
    """What the daemon has open."""
    assert shim.process is not None
    return len(os.listdir(f"/proc/{shim.process.pid}/fd"))
