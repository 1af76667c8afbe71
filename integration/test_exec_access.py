"""Who may come to the streaming server: each URL once, and not too many at a time."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from tests.support import pods, streams
from tests.support.shim import Shim, running

IMAGE = "example.org/busybox:1"
TOKENS = CLIENTS = 1000
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "SPDY/3.1",
    "X-Stream-Protocol-Version": streams.EXEC,
}


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, layout: Path) -> Iterator[tuple[Shim, str]]:
    """A daemon of its own: a flood stays for a minute."""
    with running(tmp_path_factory.mktemp("crowded")) as shim:
        shim.load(layout, IMAGE)
        yield shim, pods.run_container(shim, pods.run_pod(shim), pods.container_config(IMAGE))


def answer(url: str) -> int:
    """The HTTP status of an upgrade at this URL."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request("POST", parts.path, headers=UPGRADE)
    response = connection.getresponse()
    connection.close()
    return response.status


def test_a_token_is_good_once(crowded: tuple[Shim, str]) -> None:
    url = streams.exec_url(*crowded, "true")
    assert answer(url) == 101
    assert answer(url) == 404


def test_unknown_tokens(crowded: tuple[Shim, str]) -> None:
    url = streams.exec_url(*crowded, "true")
    token = url.rsplit("/", 1)[1]
    assert answer(url + "x") == 404
    assert answer(url.replace("/exec/", "/nothing/")) == 404
    assert answer(url.replace("/exec/", "/attach/")) == 404, "it is the token of another call"
    assert answer(url) == 404, "a wrong use spends it too"
    assert len(token) >= 20


def test_a_flood_of_clients_is_refused_and_passes(crowded: tuple[Shim, str]) -> None:
    shim, container = crowded
    spent = streams.exec_url(shim, container, "true")
    assert answer(spent) == 101
    parts = urlsplit(spent)
    address = (parts.hostname or "", parts.port or 0)
    crowd = []
    for number in range(CLIENTS):
        crowd.append(socket.create_connection(address))
        if number % 50 == 0:
            answer(spent)  # those before it were accepted: no connection waits to be tried again
    pods.until(lambda: answer(spent) == 429, "it is full")
    assert pods.execute(shim, container, "echo", "well").stdout == b"well\n"
    for sock in crowd:
        sock.close()
    pods.until(lambda: answer(spent) == 404, "there is room")


def test_a_flood_of_tokens_is_refused(crowded: tuple[Shim, str]) -> None:
    """The last test with this daemon."""
    shim, container = crowded
    with pytest.raises(grpc.RpcError) as error:
        for _ in range(TOKENS + 1):
            streams.exec_url(shim, container, "true")
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "try again" in (error.value.details() or "")
    assert pods.execute(shim, container, "echo", "well").stdout == b"well\n"
