"""Port-forward: TCP connections into a pod, each over a pair of lanes."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from berth.base.errors import BerthError
from berth.linux.tasks import Tasks
from cri_shim.streaming.commands import Desk
from cri_shim.streaming.lanes import Lane, LaneClosed
from cri_shim.streaming.pumps import FdSink, OutputPump, shut
from cri_shim.streaming.spdy_endpoint import SpdyEndpoint, SpdyLane
from cri_shim.wire.port_forward import (
    HalfTaken,
    Pair,
    PairTable,
    StreamRefused,
    read_offer,
)
from cri_shim.wire.spdy_headers import Headers

Dial = Callable[[int], Awaitable[socket.socket]]


async def forward(desk: Desk, data: Lane, error: Lane, port: int, dial: Dial) -> None:
    """One connection to a port of the pod, until both ends are done with it.

    A pod that cannot be reached is told on the error lane. A peer that resets is not: a Go client
    takes any word there for the end of the whole session.
    """
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
            await _copy(desk, data, error, sock)
        finally:
            data.intake.discard()
            data.finish()
            error.finish()


async def _copy(desk: Desk, data: Lane, error: Lane, sock: socket.socket) -> None:
    """Both directions. A reset, by the client or by the pod, ends both."""
    broken = asyncio.Event()
    data.on_reset = broken.set
    data.intake.on_broken = broken.set
    data.intake.connect(FdSink(sock.fileno(), lambda: shut(sock)))
    pump = OutputPump(sock.fileno(), data, desk.connection, desk.scratch, desk.limits.drain_quiet)
    async with Tasks() as own:
        outward = own.start(_copy_out(pump, data, error, broken), "copy from a pod")
        inward = own.start(data.intake.done.wait(), "copy to a pod")
        ended = own.start(broken.wait(), "a broken connection")
        while not (broken.is_set() or (outward.done() and inward.done())):
            going = [task for task in (outward, inward, ended) if not task.done()]
            await asyncio.wait(going, return_when=asyncio.FIRST_COMPLETED)
    if broken.is_set():
        data.reset()


async def _copy_out(pump: OutputPump, data: Lane, error: Lane, broken: asyncio.Event) -> None:
    """The pod's bytes, then its end. Older Go clients wait for the error stream to end then."""
    try:
        await pump.run()
    except OSError:
        broken.set()
    else:
        data.finish()
        error.finish()


async def _say(error: Lane, text: str) -> None:
    try:
        await error.send(text.encode())
    except LaneClosed:
        pass


class SpdyForwarding:
    """Pairs the streams of a SPDY client, and forwards each pair."""

    def __init__(self, desk: Desk, dial: Dial, own: Tasks) -> None:
        self._desk = desk
        self._dial = dial
        self._own = own
        self._pairs = PairTable()
        self.endpoint = SpdyEndpoint(desk.connection, self._offered)

    def _offered(self, lane: SpdyLane, headers: Headers) -> bool:
        try:
            offer = read_offer(lane.stream_id, headers)
            pair = self._pairs.add(lane.stream_id, offer)
        except StreamRefused:
            return False
        except HalfTaken as problem:
            self._tell(problem.error_stream, str(problem))
            return False
        if pair is None:
            self._expire_later(offer.request_id)
            lane.on_reset = lambda: self._pairs.drop_stream(lane.stream_id)
        else:
            # After this call the endpoint accepts the stream; start then.
            asyncio.get_running_loop().call_soon(self._start, pair)
        return True

    def _start(self, pair: Pair) -> None:
        data, error = (
            self.endpoint.lane(stream_id) for stream_id in (pair.data_stream, pair.error_stream)
        )
        if data is None or error is None:
            for lane in (data, error):
                if lane:
                    lane.reset()
            return
        name = f"forward port {pair.port}"
        self._own.start(forward(self._desk, data, error, pair.port, self._dial), name)

    def _expire_later(self, request_id: str) -> None:
        delay = self._desk.limits.creation_timeout
        asyncio.get_running_loop().call_later(delay, self._expire, request_id)

    def _expire(self, request_id: str) -> None:
        for stream_id in self._pairs.drop(request_id):
            if lane := self.endpoint.lane(stream_id):
                lane.reset()

    def _tell(self, stream_id: int | None, text: str) -> None:
        if stream_id is not None and (lane := self.endpoint.lane(stream_id)):
            self._own.start(_say(lane, text), "report a repeated stream")
