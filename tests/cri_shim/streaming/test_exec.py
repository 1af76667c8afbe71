"""Exec over SPDY, with real processes."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from cri_shim.streaming.server import StreamingServer
from tests.cri_shim.streaming.conftest import command
from tests.cri_shim.streaming.processes import LocalOpener
from tests.support.spdy_client import Exec, SpdyClient


async def test_outputs_and_exit_code(server: StreamingServer) -> None:
    run = await Exec.start(server.url(command("sh", "-c", "echo out; echo err >&2; exit 3")))
    assert await run.code() == 3
    assert (run.output(), run.output("stderr")) == (b"out\n", b"err\n")
    await run.client.until(lambda: run.client.ended)


async def test_success_and_signal(server: StreamingServer) -> None:
    assert await (await Exec.start(server.url(command("true")))).code() == 0
    run = await Exec.start(server.url(command("sh", "-c", "kill -TERM $$")))
    assert await run.code() == 143


async def test_stdin_half_close_and_every_byte(server: StreamingServer) -> None:
    sent = bytes(range(256)) * 1000 + b"\xff\xfe\xc0"
    run = await Exec.start(server.url(command("cat", stdin=True)), "error stdin stdout stderr")
    await run.send(sent, fin=True)
    assert await run.code() == 0
    assert run.output() == sent


async def test_arguments_of_any_bytes(server: StreamingServer) -> None:
    run = await Exec.start(server.url(command("printf", "%s", b"\xff\xfe")))
    assert await run.code() == 0
    assert run.output() == b"\xff\xfe"


async def test_a_large_output_comes_whole_before_the_end(server: StreamingServer) -> None:
    run = await Exec.start(server.url(command("head", "-c", "20000000", "/dev/zero")))
    assert await run.code() == 0
    assert run.client.counts[run.streams["stdout"]] == 20_000_000


async def test_stdin_that_nobody_reads_does_not_hurt(server: StreamingServer) -> None:
    run = await Exec.start(server.url(command("true", stdin=True)), "error stdin stdout stderr")
    assert await run.code() == 0
    run = await Exec.start(
        server.url(command("sh", "-c", "exec <&-; echo closed; sleep 1000", stdin=True)),
        "error stdin stdout stderr",
    )
    await run.send(b"x" * 3_000_000)
    await run.client.until(lambda: run.output() == b"closed\n")
    await run.client.close()


async def test_terminal(server: StreamingServer) -> None:
    script = 'until [ "$(stty size)" = "37 133" ]; do :; done; read x; echo "got $x" >&2; exit 5'
    run = await Exec.start(
        server.url(command("sh", "-c", script, tty=True, stdin=True)),
        "error stdin stdout resize",
    )
    await run.client.send(run.streams["resize"], b'{"Width":10,"Height":10}\n{"Width":133,')
    await run.client.send(run.streams["resize"], b'"Height":37}\n')
    await run.send(b"word\n")
    assert await run.code() == 5
    assert b"got word\r\n" in run.output()


async def test_a_broken_size_ends_only_its_stream(server: StreamingServer) -> None:
    run = await Exec.start(
        server.url(command("sh", "-c", "read x", tty=True, stdin=True)), "error stdin stdout resize"
    )
    await run.client.send(run.streams["resize"], b"[1]")
    await run.client.until(lambda: run.streams["resize"] in run.client.resets)
    await run.send(b"\n")
    assert await run.code() == 0


async def test_versions_before_4_report_in_text(server: StreamingServer) -> None:
    url = server.url(command("sh", "-c", "echo hi; exit 3"))
    run = await Exec.start(url, protocol="v2.channel.k8s.io")
    await run.client.until_finished(run.streams["error"])
    assert run.output("error") == b"command terminated with exit code 3"
    client = await SpdyClient.connect(server.url(command("true")))
    streams = [await client.open(kind) for kind in ("error", "stdout", "stderr")]
    await client.until_finished(*streams)
    assert client.data[streams[0]] == b""


async def test_a_container_that_is_not_there(server: StreamingServer) -> None:
    run = await Exec.start(server.url(command("true", container="absent")))
    status = await run.client.status(run.streams["error"])
    assert status["reason"] == "InternalError"
    assert "container absent does not exist" in str(status["message"])


async def test_a_background_child_does_not_hold_the_end(server: StreamingServer) -> None:
    run = await Exec.start(server.url(command("sh", "-c", "echo $$; sleep 1000 & echo $!; exit 4")))
    assert await run.code() == 4
    _, child = run.output().split()
    os.kill(int(child), 9)


@pytest.mark.parametrize("tty", [False, True])
async def test_a_client_that_leaves_ends_the_process_group(
    server: StreamingServer, opener: LocalOpener, tty: bool, tmp_path: Path
) -> None:
    script = f"sh -c 'echo $$ > {tmp_path}/pid; echo ready; sleep 1000' & wait"
    kinds = "error stdin stdout resize" if tty else "error stdin stdout stderr"
    run = await Exec.start(server.url(command("sh", "-c", script, tty=tty, stdin=True)), kinds)
    await run.client.until(lambda: b"ready" in run.output())
    run.client.abort()
    assert await opener.execs[0].process.wait() == 137
    grandchild = int((tmp_path / "pid").read_text())
    async with asyncio.timeout(5):
        while is_running(grandchild):
            await asyncio.sleep(0.01)


async def test_a_client_that_leaves_while_its_input_is_stuck(
    server: StreamingServer, opener: LocalOpener
) -> None:
    run = await Exec.start(
        server.url(command("sleep", "1000", stdin=True)), "error stdin stdout stderr"
    )
    run.client.session.send_data(run.streams["stdin"], bytes(12 << 20))
    run.client.flush()
    (connection,) = server._connections
    async with asyncio.timeout(10):
        while "input" not in connection._pauses:
            await asyncio.sleep(0.01)
    run.client.abort()
    assert await opener.execs[0].process.wait() == 137


async def test_many_commands_at_once(server: StreamingServer) -> None:
    rng = random.Random(7)

    async def one() -> None:
        sent = rng.randbytes(100_000)
        run = await Exec.start(server.url(command("cat", stdin=True)), "error stdin stdout stderr")
        await run.send(sent, fin=True)
        assert await run.code() == 0
        assert run.output() == sent

    await asyncio.gather(*(one() for _ in range(20)))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
