"""Port-forward: TCP connections into a pod, each over a pair of streams.

kubectl opens for each local connection an error stream and then a data stream, half-closes the
error stream at once, and reads an error message from it, empty for success. The data stream is the
TCP connection: FIN of the stream is FIN of the socket, in both directions.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from berth.base.errors import BerthError
from berth.linux.tasks import Tasks
from cri_shim.streaming.client_streams import ClientStream, StreamClosed
from cri_shim.streaming.connection import Client
from cri_shim.streaming.copiers import FdSink, OutputCopier, shut
from cri_shim.streaming.spdy_endpoint import SpdyEndpoint, SpdyStream
from cri_shim.wire.port_forward import (
    HalfTaken,
    Pair,
    PairTable,
    StreamRefused,
    read_offer,
)
from cri_shim.wire.spdy_headers import Headers

Dial = Callable[[int], Awaitable[socket.socket]]


async def forward(
    client: Client, data: ClientStream, error: ClientStream, port: int, dial: Dial
) -> None:
    """One connection to a port of the pod, until both ends are done with it.

    A pod that cannot be reached is reported on the error stream. A peer that resets is not: kubectl
    takes any message there as a lost connection to the pod and ends the whole session.
    """
    # The client never writes here; what it writes all the same must not count as backlog.
    error.intake.discard()
    try:
        sock = await dial(port)
    except (BerthError, OSError) as problem:
        await _say(error, f"error forwarding port {port}: {problem}")
        data.intake.discard()
        data.finish()
        error.finish()
        return
    with sock:
        try:
            await _copy(client, data, error, sock)
        finally:
            data.intake.discard()
            data.finish()
            error.finish()


async def _copy(
    client: Client, data: ClientStream, error: ClientStream, sock: socket.socket
) -> None:
    """Both directions. A reset, by the client or by the pod, ends both."""
    broken = asyncio.Event()
    data.on_reset = broken.set
    data.intake.on_broken = broken.set
    data.intake.connect(FdSink(sock.fileno(), lambda: shut(sock)))
    copier = OutputCopier(
        sock.fileno(), data, client.connection, client.scratch, client.limits.drain_quiet
    )
    async with Tasks() as own:
        outward = own.start(_copy_out(copier, data, error, broken), "copy from a pod")
        inward = own.start(data.intake.done.wait(), "copy to a pod")
        ended = own.start(broken.wait(), "a broken connection")
        # An end of one direction leaves the other open (a request that is ended by FIN still waits
        # for its response); only a reset ends both.
        while not (broken.is_set() or (outward.done() and inward.done())):
            going = [task for task in (outward, inward, ended) if not task.done()]
            await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
    if broken.is_set():
        data.reset()


async def _copy_out(
    copier: OutputCopier, data: ClientStream, error: ClientStream, broken: asyncio.Event
) -> None:
    """The pod's bytes, then its end.

    Older kubectl reads the error stream to its end before it looks at the data stream's: ending
    only the data stream would leave it waiting.
    """
    try:
        await copier.run()
    except OSError:
        broken.set()
    else:
        data.finish()
        error.finish()


async def _say(error: ClientStream, text: str) -> None:
    try:
        await error.send(text.encode())
    except StreamClosed:
        pass


class SpdyForwarding:
    """Pairs the streams of a SPDY client, and forwards each pair."""

    def __init__(self, client: Client, dial: Dial, own: Tasks) -> None:
        self._desk = client
        self._dial = dial
        self._own = own
        self._pairs = PairTable()
        self.endpoint = SpdyEndpoint(client.connection, self._offered)

    def _offered(self, stream: SpdyStream, headers: Headers) -> bool:
        try:
            offer = read_offer(stream.stream_id, headers)
            pair = self._pairs.add(stream.stream_id, offer)
        except StreamRefused:
            return False
        except HalfTaken as problem:
            # kubelet's server says so on the first pair's error stream; that pair goes on.
            self._tell(problem.error_stream, str(problem))
            return False
        if pair is None:
            self._expire_later(offer.request_id)
            stream.on_reset = lambda: self._pairs.drop_stream(stream.stream_id)
        else:
            # After this call the endpoint accepts the stream; start then.
            asyncio.get_running_loop().call_soon(self._start, pair)
        return True

    def _start(self, pair: Pair) -> None:
        data, error = (
            self.endpoint.stream(stream_id) for stream_id in (pair.data_stream, pair.error_stream)
        )
        # The client may have reset one of them between the offer and this call of the loop.
        if data is None or error is None:
            for stream in (data, error):
                if stream:
                    stream.reset()
            return
        name = f"forward port {pair.port}"
        self._own.start(forward(self._desk, data, error, pair.port, self._dial), name)

    # A client that opens one half of each pair and never the other would fill the session with
    # streams that nothing ends; kubelet gives them the same 30 s.

    def _expire_later(self, request_id: str) -> None:
        delay = self._desk.limits.creation_timeout
        asyncio.get_running_loop().call_later(delay, self._expire, request_id)

    def _expire(self, request_id: str) -> None:
        for stream_id in self._pairs.drop(request_id):
            if stream := self.endpoint.stream(stream_id):
                stream.reset()

    def _tell(self, stream_id: int | None, text: str) -> None:
        if stream_id is not None and (stream := self.endpoint.stream(stream_id)):
            self._own.start(_say(stream, text), "report a repeated stream")
