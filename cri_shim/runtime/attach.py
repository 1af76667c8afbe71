"""A client of conmon's attach socket: the container's live output, and its stdin.

SOCK_SEQPACKET. Each packet from conmon is one byte of stream (2 stdout, 3 stderr; on a terminal
always 2) and up to 8192 bytes of output; what was written before the connection is not sent.
Each packet to conmon is input, at most `MAX_INPUT` bytes: conmon cuts what is longer. Shutting
down our writing side ends the container's stdin where it was launched with `stdin_once`.

conmon writes to its clients before it reads on from the container: one that does not read holds
up the container once the socket is full. Read always, or close.
"""

import asyncio
import os
import socket
from pathlib import Path

from berth.base.errors import FailedPrecondition, Unavailable
from cri_shim.runtime import control_fifo

_PATIENCE = 5.0


async def attach(bundle: Path, timeout: float = _PATIENCE) -> socket.socket:
    """A connected socket that does not block.

    FailedPrecondition where no conmon listens: the container has ended. Unavailable where it
    does not take the connection within `timeout` seconds.
    """
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.setblocking(False)
    try:
        async with asyncio.timeout(timeout):
            await _connect(client, bundle)
    except TimeoutError:
        client.close()
        raise Unavailable(
            f"cannot attach: conmon did not accept within {timeout:g} s at {bundle}/attach"
        ) from None
    except (FileNotFoundError, ConnectionRefusedError) as error:
        client.close()
        raise FailedPrecondition("cannot attach: the container has ended") from error
    except BaseException:
        client.close()
        raise
    return client


async def _connect(client: socket.socket, bundle: Path) -> None:
    """A socket's name holds 107 bytes at most: reach the bundle by its descriptor."""
    directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                return client.connect(f"/proc/self/fd/{directory}/attach")
            except BlockingIOError:  # the queue of connections is full
                await asyncio.sleep(0.01)
    finally:
        os.close(directory)


def resize(bundle: Path, width: int, height: int) -> bool:
    """Set the size of the container's terminal in characters; False where it has ended."""
    return control_fifo.resize(bundle, width, height)
