"""Exec and attach: the lanes of a command, its session, and how it ended."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from berth.base.errors import BerthError
from berth.linux.tasks import Tasks
from cri_shim.streaming.connection import Connection, Scratch
from cri_shim.streaming.lanes import Intake, Lane, LaneClosed
from cri_shim.streaming.limits import Limits
from cri_shim.streaming.pumps import FdSink, OutputPump, shut
from cri_shim.streaming.sessions import AttachSession, ExecSession
from cri_shim.wire.conmon_packets import MAX_OUTPUT, MAX_STDIN, PacketError, Pipe, parse_packet
from cri_shim.wire.exit_status import Exited, Failed, Outcome, encode_outcome
from cri_shim.wire.remote_command import CommandProtocol, StreamType
from cri_shim.wire.terminal_size import ResizeError, SizeReader, TerminalSize

Lanes = dict[StreamType, Lane]
Resize = Callable[[int, int], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Desk:
    """What serving one client needs of the server."""

    connection: Connection
    limits: Limits
    scratch: Scratch
    tasks: Tasks
    """Of the server: what must be finished even when the client is gone."""


async def run_exec(
    desk: Desk, lanes: Lanes, opening: Coroutine[None, None, ExecSession]
) -> Outcome:
    """Run a command over its lanes to its end, output drained."""
    try:
        session = await opening
    except (BerthError, OSError) as error:
        return Failed(str(error))
    try:
        async with Tasks() as own:
            _feed(lanes, session.stdin, session.close_stdin)
            _follow_size(lanes, session.resize, own)
            pumps = _start_pumps(desk, lanes, session, own)
            code = await session.wait()
            for pump, _ in pumps:
                pump.wind_down()
            await asyncio.gather(*(task for _, task in pumps))
        return Exited(code)
    except (BerthError, OSError) as error:
        return Failed(str(error))
    finally:
        await _close(desk, lanes, session.close)


async def run_attach(
    desk: Desk, lanes: Lanes, opening: Coroutine[None, None, AttachSession]
) -> Outcome:
    """Join a container until it ends or closes its outputs."""
    try:
        session = await opening
    except (BerthError, OSError) as error:
        return Failed(str(error))
    try:
        async with Tasks() as own:
            sock = session.socket
            _feed(lanes, sock.fileno(), lambda: shut(sock), MAX_STDIN)
            _follow_size(lanes, session.resize, own)
            await _copy_packets(lanes, sock)
        return Exited(0)
    except (BerthError, OSError, PacketError) as error:
        return Failed(str(error))
    finally:
        await _close(desk, lanes, session.close)


async def report(lanes: Lanes, outcome: Outcome, protocol: CommandProtocol) -> None:
    """End the outputs, then say on the error stream how it ended."""
    error = lanes[StreamType.ERROR]
    for lane in lanes.values():
        if lane is not error:
            lane.finish()
    try:
        await error.send(encode_outcome(outcome, protocol))
    except LaneClosed:
        pass
    error.finish()


def _feed(lanes: Lanes, fd: int | None, end: Callable[[], None], most: int = 1 << 20) -> None:
    lane = lanes.get(StreamType.STDIN)
    if lane is None:
        return
    if fd is None:
        lane.intake.discard()
    else:
        lane.intake.connect(FdSink(fd, end, most))


def _start_pumps(
    desk: Desk, lanes: Lanes, session: ExecSession, own: Tasks
) -> "list[tuple[OutputPump, asyncio.Task[None]]]":
    pumps = []
    for kind, fd in ((StreamType.STDOUT, session.stdout), (StreamType.STDERR, session.stderr)):
        lane = lanes.get(kind)
        if fd is None or lane is None:
            continue
        quiet = desk.limits.drain_quiet
        pump = OutputPump(fd, lane, desk.connection, desk.scratch, quiet)
        pumps.append((pump, own.start(pump.run(), f"copy {kind.value}")))
    return pumps


async def _close(
    desk: Desk, lanes: Lanes, close: Callable[[], Coroutine[None, None, None]]
) -> None:
    """Let go of the descriptors, then close the session, even if our task is cancelled again."""
    for lane in lanes.values():
        lane.intake.discard()
    await asyncio.shield(desk.tasks.start(close(), "close a streaming session"))


async def _copy_packets(lanes: Lanes, sock: socket.socket) -> None:
    """conmon's packets to the lanes they name; a lane that nobody asked for drops them."""
    loop = asyncio.get_running_loop()
    by_pipe = {Pipe.STDOUT: StreamType.STDOUT, Pipe.STDERR: StreamType.STDERR}
    while packet := await loop.sock_recv(sock, 2 * MAX_OUTPUT):
        output = parse_packet(packet)
        lane = lanes.get(by_pipe[output.pipe])
        if lane is None:
            continue
        try:
            await lane.send(bytes(output.payload))
        except LaneClosed:
            del lanes[by_pipe[output.pipe]]


class _SizeSink:
    """The resize stream as a sink: keeps the last size; `follow` carries it out."""

    def __init__(self, lane: Lane) -> None:
        self.fd = -1
        self._lane = lane
        self._reader = SizeReader()
        self._last: TerminalSize | None = None
        self._changed = asyncio.Event()

    def write(self, data: memoryview) -> int:
        try:
            sizes = self._reader.feed(data)
        except ResizeError as error:
            self._lane.reset()
            raise BrokenPipeError(str(error)) from error
        if sizes:
            self._last = sizes[-1]
            self._changed.set()
        return len(data)

    def end(self) -> None:
        pass

    async def follow(self, resize: Resize) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._last:
                await resize(self._last.width, self._last.height)


def _follow_size(lanes: Lanes, resize: Resize, own: Tasks) -> None:
    lane = lanes.get(StreamType.RESIZE)
    if lane is None:
        return
    sink = _SizeSink(lane)
    intake: Intake = lane.intake
    intake.connect(sink)
    own.start(sink.follow(resize), "follow the terminal's size")
