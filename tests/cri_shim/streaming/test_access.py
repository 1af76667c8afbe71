"""Who gets in: tokens, HTTP, limits, TLS."""

import asyncio
import dataclasses
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from berth.base.errors import ResourceExhausted, Unavailable
from berth.linux.processes import run
from cri_shim.streaming.requests import AttachRequest, PortForwardRequest
from cri_shim.streaming.server import StreamingServer
from cri_shim.streaming.tokens import TokenTable
from cri_shim.wire.remote_command import Wanted
from tests.cri_shim.streaming.conftest import LIMITS, Start, command
from tests.cri_shim.streaming.processes import LocalOpener
from tests.support.spdy_client import Exec, SpdyClient
from tests.support.spdy_session import ClientSession


async def ask(server: StreamingServer, request: str) -> str:
    """The whole answer to a raw HTTP request for the server's address."""
    parts = urlsplit(server.url(command("true")))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request.encode())
    try:
        async with asyncio.timeout(10):
            return (await reader.read()).decode()
    finally:
        writer.close()
        await writer.wait_closed()


SPDY = "Host: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"


def test_tokens_live_a_minute_and_serve_once() -> None:
    now = 0.0
    table = TokenTable(capacity=2, lifetime=60, clock=lambda: now)
    first, second = table.insert(command("a")), table.insert(command("b"))
    assert first != second
    with pytest.raises(ResourceExhausted, match="try again in up to 60 s"):
        table.insert(command("c"))
    assert table.take(first) == command("a")
    assert table.take(first) is None
    now = 60.0
    assert table.take(second) is None
    assert len(table) == 0
    table.insert(command("d"))


async def test_a_flood_of_requests_is_bounded(start: Start) -> None:
    server = await start(tokens=50)
    for _ in range(50):
        server.url(command("true"))
    for _ in range(10_000):
        with pytest.raises(ResourceExhausted):
            server.url(command("true"))


async def test_urls_name_their_kind(server: StreamingServer) -> None:
    wanted = Wanted(False, False, True, True)
    assert "/exec/" in server.url(command("true"))
    assert "/attach/" in server.url(AttachRequest("c", wanted))
    assert "/portforward/" in server.url(PortForwardRequest("p", (80,)))


async def test_a_token_serves_once(server: StreamingServer) -> None:
    url = server.url(command("true"))
    assert await (await Exec.start(url)).code() == 0
    with pytest.raises(PermissionError, match=r"HTTP/1.1 404 "):
        await Exec.start(url)


async def test_a_token_serves_only_its_kind_and_is_spent_by_trying(server: StreamingServer) -> None:
    url = server.url(command("true"))
    with pytest.raises(PermissionError, match="404"):
        await SpdyClient.connect(url.replace("/exec/", "/attach/"), "v4.channel.k8s.io")
    with pytest.raises(PermissionError, match="404"):
        await Exec.start(url)


async def test_no_common_protocol(server: StreamingServer) -> None:
    with pytest.raises(PermissionError, match="403") as refused:
        await SpdyClient.connect(server.url(command("true")), "v9.channel.k8s.io")
    assert "X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io" in str(refused.value)
    with pytest.raises(PermissionError, match="403"):
        await SpdyClient.connect(server.url(PortForwardRequest("p", ())), "v4.channel.k8s.io")


@pytest.mark.parametrize(
    ("request_text", "answer"),
    [
        (f"GET /exec/unknown HTTP/1.1\r\n{SPDY}\r\n", "404"),
        (f"GET / HTTP/1.1\r\n{SPDY}\r\n", "404"),
        (f"GET /logs/x HTTP/1.1\r\n{SPDY}\r\n", "404"),
        (f"PUT /exec/x HTTP/1.1\r\n{SPDY}\r\n", "405"),
        ("GET /exec/x HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("GET /exec/x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "400"),
        (
            "GET /exec/x HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 8\r\n\r\n",
            "400",
        ),
        ("\x16\x03\x01 not http\r\n\r\n", "400"),
        (f"GET /{'x' * 20000} HTTP/1.1\r\n", "431"),
    ],
)
async def test_requests_that_get_no_further(
    server: StreamingServer, request_text: str, answer: str
) -> None:
    assert (await ask(server, request_text)).startswith(f"HTTP/1.1 {answer} ")


async def test_too_many_clients(start: Start) -> None:
    server = await start(connections=1)
    run = await Exec.start(server.url(command("cat", stdin=True)), "error stdin stdout stderr")
    answer = await ask(server, f"GET /exec/x HTTP/1.1\r\n{SPDY}\r\n")
    assert answer.startswith("HTTP/1.1 429 ")
    await run.send(b"", fin=True)
    assert await run.code() == 0


async def test_a_client_that_asks_nothing(start: Start) -> None:
    server = await start(head_timeout=0.1)
    assert await ask(server, "GET /exec") == ""


async def test_a_client_that_opens_too_few_streams(start: Start, opener: LocalOpener) -> None:
    server = await start(creation_timeout=0.1)
    client = await SpdyClient.connect(server.url(command("true")), "v4.channel.k8s.io")
    await client.open("error")
    await client.until(lambda: client.ended)
    assert opener.execs == []


async def test_an_idle_client(start: Start, opener: LocalOpener) -> None:
    server = await start(idle_timeout=0.3)
    run = await Exec.start(server.url(command("sleep", "1000")))
    await run.client.until(lambda: run.client.ended)
    assert await opener.execs[0].process.wait() == 137


async def test_unknown_and_repeated_streams_are_refused_alone(server: StreamingServer) -> None:
    client = await SpdyClient.connect(server.url(command("echo", "hi")), "v4.channel.k8s.io")
    error = await client.open("error")
    assert await client.open("error") in client.resets
    assert await client.open("nonsense") in client.resets
    streams = [await client.open("stdout"), await client.open("stderr")]
    assert await client.exit_code(error) == 0
    assert client.data[streams[0]] == b"hi\n"


async def test_a_broken_session_ends_with_goaway(
    server: StreamingServer, opener: LocalOpener
) -> None:
    run = await Exec.start(server.url(command("sleep", "1000")))
    run.client.writer.write(b"\x80\x03\x00\x01\x00\xff\xff\xff")
    await run.client.until(lambda: run.client.ended)
    assert run.client.session.peer_left
    assert await opener.execs[0].process.wait() == 137


async def test_frames_in_one_write_with_the_request(server: StreamingServer) -> None:
    """A client need not wait for the answer to the upgrade."""
    session = ClientSession()
    streams = [
        session.open_stream([(b"streamtype", kind)]) for kind in (b"error", b"stdout", b"stderr")
    ]
    client = await SpdyClient.connect(
        server.url(command("echo", "early")), "v4.channel.k8s.io", behind=session.data_to_send()
    )
    client.session = session
    assert await client.exit_code(streams[0]) == 0
    assert client.data[streams[1]] == b"early\n"


@pytest.fixture
async def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = await run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        timeout=20,
    )  # fmt: skip
    assert made.code == 0, made.stderr
    return certificate, key


@pytest.fixture
async def tls(
    opener: LocalOpener, certificate: tuple[Path, Path]
) -> AsyncIterator[StreamingServer]:
    limits = dataclasses.replace(LIMITS)
    server = StreamingServer(opener, certificate=certificate[0], key=certificate[1], limits=limits)
    await server.start()
    yield server
    await server.close()


async def test_tls(tls: StreamingServer, certificate: tuple[Path, Path], start: Start) -> None:
    url = tls.url(command("head", "-c", "5000000", "/dev/zero"))
    assert url.startswith("https://127.0.0.1:")
    context = ssl.create_default_context(cafile=str(certificate[0]))
    client = await SpdyClient.connect(url, "v4.channel.k8s.io", context=context)
    error, stdout, _ = [await client.open(kind) for kind in ("error", "stdout", "stderr")]
    assert await client.exit_code(error) == 0
    assert client.counts[stdout] == 5_000_000
    await client.close()


async def test_addresses_and_certificates_that_cannot_be_used(
    server: StreamingServer, opener: LocalOpener, tmp_path: Path
) -> None:
    taken = urlsplit(server.url(command("true"))).port
    assert taken
    with pytest.raises(Unavailable, match="cannot listen on"):
        await StreamingServer(opener, port=taken).start()
    with pytest.raises(Unavailable, match="cannot use certificate"):
        await StreamingServer(opener, certificate=tmp_path / "none.pem").start()
