"""Throughput of the streaming server: exec and port-forward, both ways, next to the bare kernel.

The server runs in this process, the client and the pod's TCP server in processes of their own. The
client speaks SPDY to open its streams and then reads or writes raw frames, so that what is measured
is the server. The ratio is to the same bytes through a loopback socket with nobody between.

    python -m bench streaming
"""

import asyncio
import fcntl
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from bench.result import Result, ratio, value
from berth.linux.processes import Process, spawn
from cri_shim.streaming.requests import (
    Attachment,
    ExecRequest,
    PortForwardRequest,
    RunningCommand,
)
from cri_shim.streaming.server import StreamingServer
from cri_shim.wire.remote_command import Wanted
from cri_shim.wire.spdy_frames import data_header
from tests.support.spdy_session import ClientSession

BLOCK = 128 * 1024
PIPE = 256 * 1024
TARGET = 300
"""MB/s that exec and port-forward over SPDY should reach, each way."""


class PipeExec:
    """A command on pipes, as a runtime gives it."""

    def __init__(self, command: Sequence[bytes]) -> None:
        child_in, self.stdin = os.pipe2(os.O_CLOEXEC)
        self.stdout, child_out = os.pipe2(os.O_CLOEXEC)
        self.stderr = None
        for fd in (self.stdin, self.stdout):
            os.set_blocking(fd, False)
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE)
        self._process: Process = spawn(command, stdin=child_in, stdout=child_out, new_session=True)
        os.close(child_in)
        os.close(child_out)
        self._stdin_open = True

    def close_stdin(self) -> None:
        if self._stdin_open:
            self._stdin_open = False
            os.close(self.stdin)

    async def resize(self, width: int, height: int) -> None:
        raise AssertionError("no terminal here")

    async def wait(self) -> int:
        return await self._process.wait()

    async def close(self) -> None:
        self._process.send_group(9)
        await self._process.wait()
        self._process.close()
        self.close_stdin()
        os.close(self.stdout)


class PipeOpener:
    """What the requests of this bench open."""

    async def exec(
        self, container_id: str, command: Sequence[bytes], wanted: Wanted
    ) -> RunningCommand:
        return PipeExec(command)

    async def attach(self, container_id: str, wanted: Wanted) -> Attachment:
        raise AssertionError("not measured")

    async def dial(self, sandbox_id: str, port: int) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return sock


# The other processes


def upgraded(url: str, protocol: str, streams: list[dict[bytes, bytes]]) -> socket.socket:
    """A SPDY connection with streams 1, 3, 5… open and replied to."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port))
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
        f"X-Stream-Protocol-Version: {protocol}\r\n\r\n"
    )
    session = ClientSession()
    for headers in streams:
        session.open_stream(headers.items())
    sock.sendall(head.encode() + session.data_to_send())
    return sock


def websocket(url: str) -> socket.socket:
    """A WebSocket connection, the answer to the upgrade read."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port))
    sock.sendall(
        f"GET {parts.path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
    )
    while not sock.recv(4096).startswith(b"HTTP/1.1 101"):
        pass
    return sock


def masked(payload: bytes) -> bytes:
    """A binary message under a mask of zeros: masked for the reader, and cheap to make."""
    return b"\x82\xff" + len(payload).to_bytes(8, "big") + bytes(4) + payload


CLOSE_STDIN = b"\x82\x82" + bytes(4) + b"\xff\0"


def drain(sock: socket.socket, length: int) -> None:
    buffer = bytearray(1 << 20)
    while length > 0 and (got := sock.recv_into(buffer)):
        length -= got


def pour(sock: socket.socket, length: int, header: bytes) -> None:
    """`length` bytes in blocks, each behind its header."""
    block = header + bytes(BLOCK)
    for _ in range(length // BLOCK):
        sock.sendall(block)


def client(kind: str, url: str, port: str, length: int) -> None:
    """`out` reads so many bytes from the server, `in` sends them and waits for the answer.

    Says on stdout how many seconds that took, without the start of Python.
    """
    begin = time.perf_counter()
    header = data_header(3, BLOCK, False)
    end = data_header(3, 0, True)
    if kind.startswith("websocket"):
        sock, header, end = websocket(url), masked(bytes(BLOCK + 1))[:-BLOCK], CLOSE_STDIN
    elif kind.startswith("exec"):
        streams = [{b"streamtype": name} for name in (b"error", b"stdin", b"stdout")]
        sock = upgraded(url, "v4.channel.k8s.io", streams)
    else:
        pair = {b"port": port.encode(), b"requestid": b"0"}
        streams = [pair | {b"streamtype": name} for name in (b"error", b"data")]
        sock = upgraded(url, "portforward.k8s.io", streams)
    if kind.endswith("out"):
        drain(sock, length)
    else:
        pour(sock, length, header)
        sock.sendall(end)
        sock.settimeout(60)
        while b"done" not in (got := sock.recv(1 << 20)):
            assert got, "the server hung up"
    print(time.perf_counter() - begin)
    sock.close()


def pod(mode: str, length: int) -> None:
    """A TCP server for one connection; says its port on stdout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        sock, _ = server.accept()
        with sock:
            if mode == "out":
                pour(sock, length, b"")
            else:
                drain(sock, 1 << 60)
                sock.sendall(b"done")


# Measuring


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    me = [sys.executable, "-m", "bench.streaming"]
    return subprocess.Popen([*me, *arguments], stdout=subprocess.PIPE)


async def bare(length: int) -> float:
    """MB/s of a loopback socket between two processes."""
    source = start("pod", "out", str(length))
    assert source.stdout
    port = int(source.stdout.readline())
    begin = time.perf_counter()

    def work() -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            drain(sock, length)

    await asyncio.to_thread(work)
    source.wait()
    return length / (time.perf_counter() - begin) / 1e6


async def through(server: StreamingServer, kind: str, length: int) -> tuple[float, float]:
    """MB/s as the client saw it, and MB for each second of the server's CPU time."""
    port, target = "", None
    if kind.startswith("forward"):
        target = start("pod", kind.split("-")[1], str(length))
        assert target.stdout
        port = target.stdout.readline().decode().strip()
        url = server.url(PortForwardRequest("pod", ()))
    else:
        script = f"head -c {length} /dev/zero" if kind.endswith("out") else DRAIN
        command = (b"sh", b"-c", script.encode())
        url = server.url(ExecRequest("c", command, Wanted(False, True, True, False)))
    before = resource.getrusage(resource.RUSAGE_SELF)
    process = start("client", kind, url, port, str(length))
    said, _ = await asyncio.to_thread(process.communicate)
    after = resource.getrusage(resource.RUSAGE_SELF)
    if target:
        target.wait()
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return length / float(said) / 1e6, length / busy / 1e6


DRAIN = "cat >/dev/null; printf done"
KINDS = ("exec-out", "exec-in", "forward-out", "forward-in", "websocket-out", "websocket-in")


async def measure(rounds: int, length: int) -> list[Result]:
    """All kinds, interleaved with the bare socket, so that a busy moment hits both."""
    server = StreamingServer(PipeOpener())
    await server.start()
    kernel: list[float] = []
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    costs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        kernel.append(await bare(length))
        for kind in KINDS:
            rate, cost = await through(server, kind, length)
            rates[kind].append(rate)
            costs[kind].append(cost)
    await server.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results = [value("streaming: bare loopback socket", kernel, "MB/s")]
    for kind in KINDS:
        wanted = None if kind.startswith("websocket") else TARGET
        results.append(value(f"streaming: {kind}", rates[kind], "MB/s", at_least=wanted))
        results.append(ratio(f"streaming: {kind} to bare loopback", rates[kind], kernel))
        results.append(value(f"streaming: {kind}, a core of the server", costs[kind], "MB/s"))
    results.append(value("streaming: peak memory of the server's process", [peak], "MiB"))
    return results


def run() -> list[Result]:
    return asyncio.run(measure(rounds=3, length=512 << 20))


MODES: dict[str, Callable[[list[str]], None]] = {
    "client": lambda words: client(words[0], words[1], words[2], int(words[3])),
    "pod": lambda words: pod(words[0], int(words[1])),
}


if __name__ == "__main__":
    MODES[sys.argv[1]](sys.argv[2:])
