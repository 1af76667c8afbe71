"""Exec in real containers, over SPDY as the kubelet speaks it and over WebSocket."""

import asyncio
import base64
import hashlib
import io
import json
import os
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import grpc
import pytest
import websocket

from berth.pb import runtime_v1_pb2 as cri
from integration.conftest import IMAGE
from tests.support import pods, streams
from tests.support.containers import until
from tests.support.shim import Shim, running
from tests.support.spdy_client import Exec
from tests.support.websocket_clients import connect, kube

EVERY_BYTE = bytes(range(256)) * 500 + b"\xff\xfe\xc0"


pytestmark = pytest.mark.usefixtures("clients")


async def test_outputs_and_exit_code(shim: Shim, container: str) -> None:
    run = await streams.execute(shim, container, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert await run.code() == 3
    assert (run.output(), run.output("stderr")) == (b"out\n", b"err\n")
    assert await (await streams.execute(shim, container, "true")).code() == 0
    assert await (await streams.execute(shim, container, "sh", "-c", "kill -TERM $$")).code() == 143


async def test_an_output_that_nobody_asked_for(shim: Shim, container: str) -> None:
    """More than a pipe holds: the command neither waits nor dies."""
    script = "yes | head -c 1000000 >&2; echo out; echo err >&2; exit 3"
    url = streams.exec_url(shim, container, "sh", "-c", script, stderr=False)
    run = await Exec.start(url, "error stdout")
    assert await run.code() == 3
    assert run.output() == b"out\n"


async def test_what_cannot_start_is_told(shim: Shim, container: str) -> None:
    run = await streams.execute(shim, container, "/no/such/program")
    status = await run.client.status(run.streams["error"])
    assert status["status"] == "Failure"
    assert "/no/such/program" in str(status["message"])


async def test_terminal(shim: Shim, container: str) -> None:
    script = 'until [ "$(stty size)" = "37 133" ]; do :; done; read x; echo "got $x $TERM"; exit 5'
    run = await streams.execute(shim, container, "sh", "-c", script, tty=True, stdin=True)
    await streams.resize(run, 10, 10)
    await streams.resize(run, 133, 37)
    await run.send(b"word\n")
    assert await run.code() == 5
    assert b"got word xterm\r\n" in run.output()


async def test_a_terminal_passes_signals_and_the_end_of_input(shim: Shim, container: str) -> None:
    script = "trap 'exit 4' INT; echo up; while :; do sleep 0.01; done"
    run = await streams.execute(shim, container, "sh", "-c", script, tty=True, stdin=True)
    await streams.says(run, b"up\r\n")
    await run.send(b"\x03")
    assert await run.code() == 4
    run = await streams.execute(shim, container, "sh", "-c", "cat; exit 6", tty=True, stdin=True)
    await run.send(b"\x04")
    assert await run.code() == 6


async def test_stdin_ends_by_half_a_close(shim: Shim, container: str) -> None:
    run = await streams.execute(shim, container, "sh", "-c", "cat; echo end >&2", stdin=True)
    await run.send(EVERY_BYTE, fin=True)
    assert await run.code() == 0
    assert run.output() == EVERY_BYTE
    assert run.output("stderr") == b"end\n"


async def test_arguments_that_are_not_ascii(shim: Shim, container: str) -> None:
    run = await streams.execute(shim, container, "printf", "%s|", "grüße", "日本", "a b", "", "$x")
    assert await run.code() == 0
    assert run.output() == "grüße|日本|a b||$x|".encode()


async def test_the_containers_user_directory_and_environment(
    shim: Shim, image: str, handler: str
) -> None:
    pod = pods.run_pod(shim, handler=handler)
    config = pods.container_config(image, working_dir="/var/work")
    config.envs.add(key="NAME", value="größe 日本".encode())
    config.linux.security_context.run_as_user.value = 1000
    config.linux.security_context.run_as_group.value = 1000
    config.linux.security_context.supplemental_groups.append(3000)
    container = pods.run_container(shim, pod, config)
    script = 'id -u; id -g; id -G; pwd; printf %s "$NAME"; echo " err" > /dev/stderr'
    run = await streams.execute(shim, container, "sh", "-c", f"({script}) > /dev/stdout")
    assert await run.code() == 0
    user, group, groups, directory, name = run.output().decode().split("\n")
    assert (user, group, directory, name) == ("1000", "1000", "/var/work", "größe 日本")
    assert {"1000", "3000"} <= set(groups.split())
    assert run.output("stderr") == b" err\n"
    on_terminal = await streams.execute(
        shim, container, "sh", "-c", "id -u > /dev/tty; echo x > /dev/stderr", tty=True
    )
    assert await on_terminal.code() == 0
    assert on_terminal.output() == b"1000\r\nx\r\n"


@pytest.mark.parametrize("tty", [False, True])
async def test_a_client_that_leaves_ends_all_it_started(
    shim: Shim, container: str, tty: bool
) -> None:
    seconds = f"3{os.getpid():06}{tty:d}"
    script = f"sleep {seconds} & sh -c 'sleep {seconds}; :' & echo ready; sleep {seconds}"
    run = await streams.execute(shim, container, "sh", "-c", script, tty=tty, stdin=True)
    await streams.says(run, b"ready")
    await until(lambda: len(sleepers(seconds)) == 3)
    run.client.abort()
    await until(lambda: not sleepers(seconds))
    assert pods.status(shim, container).state == cri.CONTAINER_RUNNING


async def test_a_background_child_does_not_hold_the_end(shim: Shim, container: str) -> None:
    seconds = f"4{os.getpid():06}"
    run = await streams.execute(shim, container, "sh", "-c", f"sleep {seconds} & echo up; exit 4")
    assert await run.code() == 4
    assert run.output() == b"up\n"
    assert len(sleepers(seconds)) == 1


def sleepers(seconds: str) -> list[str]:
    """The processes of this host that sleep so long."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if line == f"sleep\0{seconds}\0".encode():
            found.append(entry.name)
    return found


async def test_many_at_once(shim: Shim, container: str) -> None:
    async def one(number: int) -> None:
        sent = os.urandom(50_000)
        run = await streams.execute(shim, container, "sh", "-c", f"cat; exit {number}", stdin=True)
        await run.send(sent, fin=True)
        assert await run.code() == number
        assert run.output() == sent

    await asyncio.gather(*(one(number) for number in range(12)))


def test_only_a_running_container_takes_an_exec(shim: Shim, image: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        streams.exec_url(shim, "none", "true")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    pod = pods.run_pod(shim)
    created = pods.create(shim, pod, pods.container_config(image))
    with pytest.raises(grpc.RpcError) as error:
        streams.exec_url(shim, created, "true")
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_the_container_ends_under_an_exec(shim: Shim, image: str, handler: str) -> None:
    pod = pods.run_pod(shim, handler=handler)
    container = pods.run_container(shim, pod, pods.container_config(image))
    run = await streams.execute(shim, container, "sh", "-c", "echo up; sleep 1000")
    await streams.says(run, b"up\n")
    await asyncio.to_thread(pods.stop, shim, container)
    assert await run.code() == 137


async def test_what_a_killed_daemon_left_is_ended(layout: Path) -> None:
    seconds = f"6{os.getpid():06}"
    # A short directory: the name of a terminal's socket below it has 107 bytes at most.
    with running(Path(tempfile.mkdtemp(prefix="berth-", dir="/tmp"))) as shim:
        shim.load(layout, IMAGE)
        container = pods.run_container(shim, pods.run_pod(shim), pods.container_config(IMAGE))
        words = ("sh", "-c", f"sleep {seconds} & sleep {seconds}")
        await streams.execute(shim, container, *words, stdin=True)
        await streams.execute(shim, container, *words, tty=True)
        call = shim.runtime.ExecSync.future(cri.ExecSyncRequest(container_id=container, cmd=words))
        await until(lambda: len(sleepers(seconds)) == 6, 60)
        await asyncio.to_thread(shim.restart)
        assert call.exception() is not None
        assert sleepers(seconds) == []
        assert pods.status(shim, container).state == cri.CONTAINER_RUNNING
        again = await streams.execute(shim, container, "echo", "well", tty=True)
        assert await again.code() == 0
        assert [*shim.state.glob("runtime/**/*-scratch/*")] == []


# The Kubernetes package's client, and a plain WebSocket one


async def test_websocket_outputs_and_exit_code(shim: Shim, container: str) -> None:
    url = streams.exec_url(shim, container, "sh", "-c", "printf 'out\\377'; echo err >&2; exit 7")

    def work() -> Any:
        client = kube(url)
        client.run_forever(timeout=20)
        return client.read_channel(1), client.read_channel(2), client.returncode

    assert await asyncio.to_thread(work) == (b"out\xff", b"err\n", 7)


async def test_websocket_stdin(shim: Shim, container: str) -> None:
    url = streams.exec_url(shim, container, "sh", "-c", "cat; echo end >&2", stdin=True)

    def work() -> Any:
        client = kube(url)
        client.write_stdin(EVERY_BYTE)
        client.close_channel(0)
        client.run_forever(timeout=20)
        return client.read_channel(1), client.read_channel(2), client.returncode

    assert await asyncio.to_thread(work) == (EVERY_BYTE, b"end\n", 0)


async def test_websocket_terminal(shim: Shim, container: str) -> None:
    script = 'until [ "$(stty size)" = "17 91" ]; do :; done; read x; echo "got $x"; exit 2'
    url = streams.exec_url(shim, container, "sh", "-c", script, tty=True, stdin=True)

    def work() -> Any:
        client = kube(url)
        client.write_channel(4, json.dumps({"Width": 91, "Height": 17}))
        client.write_stdin("grüße\n")
        client.run_forever(timeout=20)
        return client.read_channel(1), client.returncode

    out, code = await asyncio.to_thread(work)
    assert "got grüße\r\n".encode() in out
    assert code == 2


async def test_websocket_in_base64(shim: Shim, container: str) -> None:
    url = streams.exec_url(shim, container, "sh", "-c", "head -c 4; printf '\\377'", stdin=True)

    def work() -> dict[bytes, bytes]:
        client = connect(url, "v4.base64.channel.k8s.io")
        client.send("0" + base64.b64encode(b"\xfe\x00ab").decode())
        outputs = {b"1": b"", b"3": b""}
        while True:
            opcode, data = client.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return outputs
            outputs[data[:1]] += base64.b64decode(data[1:], validate=True)

    outputs = await asyncio.to_thread(work)
    assert outputs[b"1"] == b"\xfe\x00ab\xff"
    assert json.loads(outputs[b"3"])["status"] == "Success"


# Copying as `kubectl cp` does: tar at both ends


async def test_copying_in_and_out(shim: Shim, container: str) -> None:
    content = os.urandom(1 << 20) * 50
    digest = hashlib.sha256(content).hexdigest()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("größe.bin")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    run = await streams.execute(shim, container, "tar", "xmf", "-", "-C", "/tmp", stdin=True)
    packed = archive.getvalue()
    for at in range(0, len(packed), 1 << 20):
        await run.send(packed[at : at + (1 << 20)])
    await run.send(b"", fin=True)
    assert (await run.code(), run.output("stderr")) == (0, b"")
    answer = pods.execute(shim, container, "sha256sum", "/tmp/größe.bin", timeout=60)
    assert answer.stdout.split()[0].decode() == digest
    run = await streams.execute(shim, container, "tar", "cf", "-", "-C", "/tmp", "größe.bin")
    assert await run.code() == 0
    with tarfile.open(fileobj=io.BytesIO(run.output())) as tar:
        file = tar.extractfile("größe.bin")
        assert file is not None
        assert hashlib.sha256(file.read()).hexdigest() == digest
    pods.execute(shim, container, "rm", "/tmp/größe.bin")
