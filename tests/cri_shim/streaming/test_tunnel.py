"""Port-forward as kubectl speaks it to a WebSocket: SPDY in binary messages."""

import asyncio
import os
from typing import Any

import pytest
import websocket

from cri_shim.streaming.requests import PortForwardRequest
from cri_shim.streaming.server import StreamingServer
from cri_shim.wire import spdy_events as events
from tests.support.spdy_session import ClientSession, StreamReplied
from tests.support.websocket_clients import connect

PROTOCOL = "SPDY/3.1+portforward.k8s.io"


class Client:
    """Its messages end where they happen to: every `cut` bytes."""

    def __init__(self, url: str, cut: int) -> None:
        self.socket = connect(url, PROTOCOL)
        self.session = ClientSession()
        self.cut = cut
        self.data: dict[int, bytes] = {}
        self.finished: set[int] = set()
        self.replied: set[int] = set()

    def flush(self) -> None:
        due = self.session.data_to_send()
        for at in range(0, len(due), self.cut):
            self.socket.send_binary(due[at : at + self.cut])

    def open(self, kind: bytes, port: int) -> int:
        headers = [(b"streamtype", kind), (b"port", str(port).encode()), (b"requestid", b"0")]
        stream_id = self.session.open_stream(headers)
        self.flush()
        while stream_id not in self.replied:
            self.receive()
        return stream_id

    def receive(self) -> None:
        message = self.socket.recv()
        assert isinstance(message, bytes)
        for event in self.session.receive_data(message):
            match event:
                case StreamReplied(stream_id):
                    self.replied.add(stream_id)
                case events.DataReceived(stream_id, payload, fin):
                    self.data[stream_id] = self.data.get(stream_id, b"") + bytes(payload)
                    if fin:
                        self.finished.add(stream_id)
                case _:
                    pass


async def in_thread(work: Any) -> Any:
    async with asyncio.timeout(20):
        return await asyncio.to_thread(work)


@pytest.mark.parametrize(("size", "cut"), [(1000, 7), (300_000, 50_000)])
async def test_there_and_back(server: StreamingServer, echo_port: int, size: int, cut: int) -> None:
    url = server.url(PortForwardRequest("pod", ()))
    sent = os.urandom(size)

    def work() -> Any:
        client = Client(url, cut)
        assert client.socket.getsubprotocol() == PROTOCOL.lower()  # as that package has it
        error = client.open(b"error", echo_port)
        client.session.finish(error)
        data = client.open(b"data", echo_port)
        client.socket.ping(b"still there?")
        client.session.send_data(data, sent, True)
        client.flush()
        while not {error, data} <= client.finished:
            client.receive()
        client.socket.close(timeout=5)
        return client.data[data], client.data.get(error, b"")

    assert await in_thread(work) == (sent, b"")


async def test_text_is_refused(server: StreamingServer) -> None:
    url = server.url(PortForwardRequest("pod", ()))

    def work() -> Any:
        client = Client(url, 100)
        client.socket.send("hello")
        opcode, data = client.socket.recv_data(control_frame=True)
        return opcode, int.from_bytes(data[:2], "big")

    assert await in_thread(work) == (websocket.ABNF.OPCODE_CLOSE, 1003)
