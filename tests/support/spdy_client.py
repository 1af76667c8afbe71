"""A SPDY client for tests, on asyncio streams."""

import asyncio
import json
import ssl
from typing import ClassVar
from urllib.parse import urlsplit

from cri_shim.wire import spdy_events as events
from cri_shim.wire.spdy_frames import ResetStatus
from tests.support.spdy_session import ClientSession, Event, StreamReplied


class SpdyClient:
    """One upgraded connection. Reads all the time, unless `hold` is called."""

    opened: ClassVar[list["SpdyClient"]] = []
    """For the fixture, which closes them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.session = ClientSession()
        self.data: dict[int, bytearray] = {}
        self.counts: dict[int, int] = {}
        self.largest: dict[int, int] = {}
        self.keep = True
        """False: only count what comes after the first 64 KiB of a stream."""
        self.returns_windows = False
        """Like Go's library: no window is kept on either side."""
        self.replied: set[int] = set()
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}
        self.events: list[Event] = []
        self.ended = False
        self._changed = asyncio.Condition()
        self._reading = asyncio.Event()
        self._reading.set()
        self.opened.append(self)
        self._task = asyncio.get_running_loop().create_task(self._read())

    @classmethod
    async def connect(
        cls, url: str, *protocols: str, behind: bytes = b"", context: ssl.SSLContext | None = None
    ) -> "SpdyClient":
        """Upgrade; `behind` is sent in one write with the request. PermissionError if refused."""
        parts = urlsplit(url)
        # The reader's limit is the client's only buffer: small, so that it can be a slow one.
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port, ssl=context, limit=1 << 18
        )
        names = "".join(f"X-Stream-Protocol-Version: {name}\r\n" for name in protocols)
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\n"
            f"Upgrade: SPDY/3.1\r\nContent-Length: 0\r\n{names}\r\n"
        )
        writer.write(head.encode() + behind)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 101 "):
            text = (answer + await reader.read()).decode()
            writer.close()
            await writer.wait_closed()
            raise PermissionError(text)
        return cls(reader, writer)

    async def _read(self) -> None:
        try:
            while data := await self.reader.read(1 << 18):
                for event in self.session.receive_data(data):
                    self._note(event)
                self.flush()
                async with self._changed:
                    self._changed.notify_all()
                await self._reading.wait()
        except ConnectionError:
            pass
        self.ended = True
        async with self._changed:
            self._changed.notify_all()

    def _note(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case StreamReplied(stream_id):
                self.replied.add(stream_id)
            case events.DataReceived(stream_id, payload, fin):
                self.events.pop()
                self.counts[stream_id] = self.counts.get(stream_id, 0) + len(payload)
                self.largest[stream_id] = max(self.largest.get(stream_id, 0), len(payload))
                data = self.data.setdefault(stream_id, bytearray())
                if self.keep or len(data) < 1 << 16:
                    data += payload
                if self.returns_windows:
                    self.session.consumed(stream_id, len(payload))
                if fin:
                    self.finished.add(stream_id)
            case events.StreamReset(stream_id, status):
                self.resets[stream_id] = status
            case _:
                pass

    def hold(self) -> None:
        self._reading.clear()

    def go_on(self) -> None:
        self._reading.set()

    def flush(self) -> None:
        if due := self.session.data_to_send():
            self.writer.write(due)

    async def until(self, condition: object) -> None:
        """Wait until the condition (a function) holds."""
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(condition)  # type: ignore[arg-type] # a plain function

    def offer(self, kind: str, **headers: str) -> int:
        """Open a stream without waiting for the reply."""
        pairs = [(b"streamtype", kind.encode())]
        pairs += [(name.encode(), value.encode()) for name, value in headers.items()]
        stream_id = self.session.open_stream(pairs)
        self.flush()
        return stream_id

    async def open(self, kind: str, **headers: str) -> int:
        stream_id = self.offer(kind, **headers)
        await self.until(
            lambda: stream_id in self.replied or stream_id in self.resets or self.ended
        )
        return stream_id

    async def send(self, stream_id: int, data: bytes, fin: bool = False) -> None:
        self.session.send_data(stream_id, data, fin)
        self.flush()
        await self.writer.drain()

    def finish(self, stream_id: int) -> None:
        self.session.finish(stream_id)
        self.flush()

    def reset(self, stream_id: int) -> None:
        self.session.reset(stream_id, ResetStatus.CANCEL)
        self.flush()

    async def until_finished(self, *stream_ids: int) -> None:
        await self.until(lambda: self.finished.issuperset(stream_ids) or self.ended)

    async def status(self, error_stream: int) -> dict[str, object]:
        """The JSON Status at the end of the error stream."""
        await self.until_finished(error_stream)
        status: dict[str, object] = json.loads(self.data[error_stream])
        return status

    async def exit_code(self, error_stream: int) -> int:
        status = await self.status(error_stream)
        if status["status"] == "Success":
            return 0
        details = status["details"]
        assert isinstance(details, dict)
        return int(details["causes"][0]["message"])

    def abort(self) -> None:
        """Leave as a killed client does."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.go_on()
        self.abort()
        await self._task


class Exec:
    """A client with the streams of one command open."""

    def __init__(self, client: SpdyClient, streams: dict[str, int]) -> None:
        self.client = client
        self.streams = streams

    @classmethod
    async def start(
        cls, url: str, kinds: str = "error stdout stderr", protocol: str = "v4.channel.k8s.io"
    ) -> "Exec":
        client = await SpdyClient.connect(url, protocol)
        return cls(client, {kind: await client.open(kind) for kind in kinds.split()})

    def output(self, kind: str = "stdout") -> bytes:
        return bytes(self.client.data.get(self.streams[kind], b""))

    async def code(self) -> int:
        return await self.client.exit_code(self.streams["error"])

    async def send(self, data: bytes, fin: bool = False) -> None:
        await self.client.send(self.streams["stdin"], data, fin)
