"""Exec and attach: a command's descriptors, or conmon's socket, copied to and from a client.

client ── stdin ──▶ Intake ──▶ pipe, pty or attach socket
client ◀─ stdout, stderr ── OutputCopier ◀── pipe or pty      (attach: conmon's packets)
client ── resize ─▶ the last size wins
client ◀─ error ── one message at the end: how the command ended
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from berth.base.errors import BerthError
from berth.linux.tasks import Tasks
from cri_shim.streaming.client_streams import ClientStream, Intake, StreamClosed
from cri_shim.streaming.connection import Client
from cri_shim.streaming.copiers import FdSink, OutputCopier, shut
from cri_shim.streaming.requests import Attachment, RunningCommand
from cri_shim.wire.conmon_packets import MAX_OUTPUT, MAX_STDIN, PacketError, Pipe, parse_packet
from cri_shim.wire.remote_command import (
    CommandProtocol,
    Exited,
    Failed,
    Outcome,
    StreamType,
    encode_outcome,
)
from cri_shim.wire.terminal_size import ResizeError, SizeReader, TerminalSize

Streams = dict[StreamType, ClientStream]
Resize = Callable[[int, int], Coroutine[None, None, None]]
_Opened = TypeVar("_Opened", RunningCommand, Attachment)


async def run_exec(
    client: Client, streams: Streams, opening: Coroutine[None, None, RunningCommand]
) -> Outcome:
    """Run a command over its streams to its end, output drained."""
    return await _run(client, streams, opening, _copy_command)


async def run_attach(
    client: Client, streams: Streams, opening: Coroutine[None, None, Attachment]
) -> Outcome:
    """Join a container until it ends or closes its outputs."""
    return await _run(client, streams, opening, _copy_attachment)


async def _run(
    client: Client,
    streams: Streams,
    opening: Coroutine[None, None, _Opened],
    copy: Callable[[Client, Streams, _Opened, Tasks], Awaitable[int]],
) -> Outcome:
    """Open, copy until `copy` returns the exit code, close; errors go to the error stream."""
    try:
        opened = await opening
    except (BerthError, OSError) as error:
        return Failed(str(error))
    try:
        async with Tasks() as own:
            return Exited(await copy(client, streams, opened, own))
    except (BerthError, OSError, PacketError) as error:
        return Failed(str(error))
    finally:
        await _close(client, streams, opened.close)


async def _copy_command(
    client: Client, streams: Streams, command: RunningCommand, own: Tasks
) -> int:
    _feed(streams, command.stdin, command.close_stdin)
    _follow_size(streams, command.resize, own)
    copiers = _start_copiers(client, streams, command, own)
    code = await command.wait()
    # What the command wrote lies in the pipes after its end and must go out before the exit code.
    # But a background child may keep a pipe open for ever: from here on silence is an end too.
    for copier, _ in copiers:
        copier.wind_down()
    await asyncio.gather(*(task for _, task in copiers))
    return code


async def _copy_attachment(
    client: Client, streams: Streams, attachment: Attachment, own: Tasks
) -> int:
    """Attach has no exit code: the end of the outputs is success, as in other runtimes."""
    sock = attachment.socket
    # conmon takes a shut socket for the end of stdin, and reads no more than MAX_STDIN of one
    # packet: what is over would be lost without an error.
    _feed(streams, sock.fileno(), lambda: shut(sock), MAX_STDIN)
    _follow_size(streams, attachment.resize, own)
    await _copy_packets(streams, sock)
    return 0


async def report(streams: Streams, outcome: Outcome, protocol: CommandProtocol) -> None:
    """End the outputs, then say on the error stream how it ended.

    In this order: kubectl reads the outputs to their ends and then the error stream; a client that
    takes the Status for the end of all has everything too.
    """
    error = streams[StreamType.ERROR]
    for stream in streams.values():
        if stream is not error:
            stream.finish()
    try:
        await error.send(encode_outcome(outcome, protocol))
    except StreamClosed:
        pass
    error.finish()


def _feed(streams: Streams, fd: int | None, end: Callable[[], None], most: int = 1 << 20) -> None:
    stream = streams.get(StreamType.STDIN)
    if stream is None:
        return
    if fd is None:
        # Nobody reads it, but it must not fill the backlog: that would stop the resizes too.
        stream.intake.discard()
    else:
        stream.intake.connect(FdSink(fd, end, most))


def _start_copiers(
    client: Client, streams: Streams, command: RunningCommand, own: Tasks
) -> "list[tuple[OutputCopier, asyncio.Task[None]]]":
    copiers = []
    for kind, fd in ((StreamType.STDOUT, command.stdout), (StreamType.STDERR, command.stderr)):
        stream = streams.get(kind)
        if fd is None or stream is None:
            continue
        quiet = client.limits.drain_quiet
        copier = OutputCopier(fd, stream, client.connection, client.scratch, quiet)
        copiers.append((copier, own.start(copier.run(), f"copy {kind.value}")))
    return copiers


async def _close(
    client: Client, streams: Streams, close: Callable[[], Coroutine[None, None, None]]
) -> None:
    """Stop using the descriptors, then close them, even if our task is cancelled again."""
    # First out of the event loop, then closed: the kernel gives the number to the next file that
    # is opened, and a writer still registered for it would write into that.
    for stream in streams.values():
        stream.intake.discard()
    await asyncio.shield(client.tasks.start(close(), "close a command's streams"))


async def _copy_packets(streams: Streams, sock: socket.socket) -> None:
    """conmon's packets to the streams they name; a stream that nobody asked for drops them."""
    loop = asyncio.get_running_loop()
    by_pipe = {Pipe.STDOUT: StreamType.STDOUT, Pipe.STDERR: StreamType.STDERR}
    # conmon writes to its clients before it reads on from the container: a client that is slow here
    # slows the container down, as a slow terminal does. The kernel cuts a packet that is longer
    # than the buffer (recv(2)), hence twice the most.
    while packet := await loop.sock_recv(sock, 2 * MAX_OUTPUT):
        output = parse_packet(packet)
        stream = streams.get(by_pipe[output.pipe])
        if stream is None:
            continue
        try:
            await stream.send(bytes(output.payload))
        except StreamClosed:
            del streams[by_pipe[output.pipe]]


class _SizeSink:
    """The resize stream as a sink: keeps the last size, which `follow` sets.

    Sizes in between are left out: a client that drags a window sends hundreds, and each costs a
    system call or a line to conmon.
    """

    def __init__(self, stream: ClientStream) -> None:
        self.fd = -1
        self._stream = stream
        self._reader = SizeReader()
        self._last: TerminalSize | None = None
        self._changed = asyncio.Event()

    def write(self, data: memoryview) -> int:
        try:
            sizes = self._reader.feed(data)
        except ResizeError as error:
            self._stream.reset()
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


def _follow_size(streams: Streams, resize: Resize, own: Tasks) -> None:
    stream = streams.get(StreamType.RESIZE)
    if stream is None:
        return
    sink = _SizeSink(stream)
    intake: Intake = stream.intake
    intake.connect(sink)
    own.start(sink.follow(resize), "follow the terminal's size")
