"""Packets of conmon's attach socket and lines of its control FIFO.

The attach socket is SOCK_SEQPACKET. From conmon: one byte naming the stream, then up to 8 KiB. To
conmon: raw stdin. It reads at most 32 KiB of a packet and loses the rest, and takes an empty
packet, like a shut socket, for the end of stdin. Its writes block: a client that does not read
stops the container's output, and its log. On a terminal there is one stream, and it is stdout.
Source: conmon `src/config.h`, `src/conn_sock.c`, `src/ctr_stdio.c`, `src/ctrl.c`.
"""

from dataclasses import dataclass
from enum import IntEnum

MAX_STDIN = 32768
MAX_OUTPUT = 8193
MAX_CELLS = 1000
"""conmon refuses a terminal with more rows or columns."""


class Pipe(IntEnum):
    """The first byte of a packet."""

    STDOUT = 2
    STDERR = 3


class PacketError(Exception):
    """conmon never sends such a packet: the other end is something else."""


@dataclass(frozen=True, slots=True)
class Output:
    pipe: Pipe
    payload: memoryview


def parse_packet(packet: bytes | memoryview) -> Output:
    """One packet read from the attach socket."""
    view = memoryview(packet)  # no copy: the packet goes on to the client's frame as it is
    if not view or view[0] not in (Pipe.STDOUT, Pipe.STDERR):
        raise PacketError(f"attach packet begins with {bytes(view[:1])!r}, not a stream number")
    return Output(Pipe(view[0]), view[1:])


def resize_line(width: int, height: int) -> bytes:
    """The control line that sets the terminal's size, cut to what conmon accepts."""
    # Rows first. Over 1000 conmon refuses the line, and the terminal would keep its old size.
    return b"1 %d %d\n" % (min(height, MAX_CELLS), min(width, MAX_CELLS))


REOPEN_LOG_LINE = b"2 0 0\n"
"""The control line that makes conmon open its log file anew."""
