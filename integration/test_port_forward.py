"""Port-forward into real pods: their own network or the host's, IPv4 or IPv6."""

import asyncio
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from kubernetes.stream.ws_client import PortForward

from berth.linux import namespaces
from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods, streams
from tests.support.shim import Shim
from tests.support.websocket_clients import connect

MANY = 40
HTTP, ECHO, ONLY_6, NOBODY = 8080, 9000, 9006, 9
PAGE, BIG = b"four\n", 32 << 20
SERVE = (
    f"mkdir -p /four /six; echo four > /four/page; echo six > /six/page; "
    f"truncate -s {BIG} /four/big; "
    f"nc -ll -p {ECHO} -e cat & httpd -p 127.0.0.1:{HTTP} -h /four; httpd -p [::1]:{HTTP} -h /six; "
    f"httpd -p [::1]:{ONLY_6} -h /six; touch /up; wait"
)


pytestmark = pytest.mark.usefixtures("clients")


def serving(shim: Shim, image: str) -> str:
    """A pod with its own network, where servers answer."""
    config = pods.pod_config(host_network=False)
    pod = pods.run_pod(shim, config)
    container = pods.run_container(
        shim, pod, pods.container_config(image, ["/bin/sh", "-c", SERVE]), config
    )
    ready = ("sh", "-c", f"test -e /up && netstat -ltn | grep -q :{ECHO}")
    pods.until(lambda: pods.execute(shim, container, *ready).exit_code == 0, "up")
    return pod


@pytest.fixture(scope="module")
def serving_pod(shim: Shim, image: str) -> Iterator[str]:
    pod_id = serving(shim, image)
    yield pod_id
    pods.remove_pod(shim, pod_id)


def get(path: str) -> bytes:
    return f"GET /{path} HTTP/1.0\r\n\r\n".encode()


async def test_pages_by_ipv4_first_then_by_ipv6(shim: Shim, serving_pod: str) -> None:
    session = await streams.Forward.start(streams.forward_url(shim, serving_pod))
    for port, body in ((HTTP, b"four\n"), (ONLY_6, b"six\n")):
        answer, error = await session.ask(port, get("page"))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"\r\n\r\n" + body)
        assert error == b""


async def test_the_pods_network_is_not_the_hosts(shim: Shim, serving_pod: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        session = await streams.Forward.start(streams.forward_url(shim, serving_pod))
        answer, error = await session.ask(port, b"x")
        assert answer == b""
        assert f"error forwarding port {port}".encode() in error


async def test_many_connections_at_once_over_one_session(shim: Shim, serving_pod: str) -> None:
    """To a server that holds them all before it answers any."""
    netns = shim.state / "pods" / serving_pod / "ns" / "net"
    listener = namespaces.run_inside(str(netns), lambda: socket.create_server(("127.0.0.1", 0)))
    everybody = asyncio.Barrier(MANY)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await everybody.wait()
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    session = await streams.Forward.start(streams.forward_url(shim, serving_pod))
    async with await asyncio.start_server(echo, sock=listener):
        port = listener.getsockname()[1]
        sent = [os.urandom(60_000 + number) for number in range(MANY)]
        answers = await asyncio.gather(*(session.ask(port, each) for each in sent))
    assert answers == [(each, b"") for each in sent]


async def test_bytes_of_every_value_and_a_long_answer(shim: Shim, serving_pod: str) -> None:
    session = await streams.Forward.start(streams.forward_url(shim, serving_pod))
    sent = bytes(range(256)) * 8000
    answer, error = await session.ask(ECHO, sent)
    assert (answer, error) == (sent, b"")
    answer, _ = await session.ask(HTTP, get("big"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert len(body) == BIG


async def test_where_nothing_listens_the_session_lives_on(shim: Shim, serving_pod: str) -> None:
    session = await streams.Forward.start(streams.forward_url(shim, serving_pod))
    for _ in range(2):
        answer, error = await session.ask(NOBODY, b"x")
        assert answer == b""
        assert error.startswith(f"error forwarding port {NOBODY}: ".encode())
        assert b"Connection refused" in error
        answer, error = await session.ask(HTTP, get("page"))
        assert answer.endswith(PAGE)
        assert error == b""
    assert not session.client.ended


async def test_a_connection_that_the_client_drops_leaves_the_others(
    shim: Shim, serving_pod: str
) -> None:
    session = await streams.Forward.start(streams.forward_url(shim, serving_pod))
    _, kept = await session.open(ECHO)
    _, dropped = await session.open(ECHO)
    await session.client.send(dropped, b"x")
    await session.client.until(lambda: dropped in session.client.data)
    session.client.reset(dropped)
    await session.client.send(kept, b"on", fin=True)
    await session.client.until_finished(kept)
    assert bytes(session.client.data[kept]) == b"on"


class Greeting(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"host " + self.request.recv(100))


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def host_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A server on this host's loopback, by one family only."""

    class Server(socketserver.ThreadingTCPServer):
        address_family = request.param

    address = "::1" if request.param == socket.AF_INET6 else "127.0.0.1"
    with Server((address, 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


async def test_a_pod_on_the_hosts_network(shim: Shim, host_port: int) -> None:
    pod = pods.run_pod(shim)
    session = await streams.Forward.start(streams.forward_url(shim, pod, host_port))
    assert await session.ask(host_port, b"it is") == (b"host it is", b"")


async def test_a_pod_that_is_gone(shim: Shim, image: str) -> None:
    pod = serving(shim, image)
    session = await streams.Forward.start(streams.forward_url(shim, pod))
    _, data = await session.open(ECHO)
    await session.client.send(data, b"x")
    await session.client.until(lambda: data in session.client.data)
    await asyncio.to_thread(
        shim.runtime.RemovePodSandbox, cri.RemovePodSandboxRequest(pod_sandbox_id=pod)
    )
    await session.client.until(
        lambda: data in session.client.finished or data in session.client.resets
    )
    answer, said = await session.ask(ECHO, b"x")
    assert answer == b""
    assert pod[:12].encode() in said
    with pytest.raises(grpc.RpcError) as problem:
        streams.forward_url(shim, pod)
    assert problem.value.code() is grpc.StatusCode.NOT_FOUND


def test_bad_requests(shim: Shim, serving_pod: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        streams.forward_url(shim, serving_pod, 70_000)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stopped = pods.run_pod(shim)
    shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=stopped))
    with pytest.raises(grpc.RpcError) as error:
        streams.forward_url(shim, stopped)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_by_the_kubernetes_client(shim: Shim, serving_pod: str) -> None:
    url = streams.forward_url(shim, serving_pod, ECHO, NOBODY)
    sent = os.urandom(200_000)

    def work() -> Any:
        forward = PortForward(connect(url, "v4.channel.k8s.io"), [ECHO, NOBODY])
        sock = forward.socket(ECHO)
        sock.settimeout(20)
        sock.sendall(sent)
        got = b""
        while len(got) < len(sent):
            got += sock.recv(1 << 20)
        pods.until(lambda: bool(forward.error(NOBODY)), "an error is told")
        forward.close()
        return got, forward.error(NOBODY)

    got, error = await asyncio.to_thread(work)
    assert got == sent
    assert error.startswith(f"error forwarding port {NOBODY}: ")
