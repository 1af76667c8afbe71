"""A client of conmon's attach socket: the container's live output, and its stdin.

Packets are those of `wire.conmon_packets`; what was written before the connection is not sent.
Shutting down our writing side ends the container's stdin where it was launched with `stdin_once`.

conmon writes to its clients before it reads on from the container: a client that does not read
stops the container once the socket is full. Read always, or close.
"""

import asyncio
import os
import socket
from pathlib import Path

from berth.base.errors import FailedPrecondition, Unavailable

_TIMEOUT = 5.0


async def attach(bundle: Path, timeout: float = _TIMEOUT) -> socket.socket:
    """A connected socket that does not block.

    FailedPrecondition where no conmon listens: the container has ended. Unavailable where it
    does not take the connection within `timeout` seconds.
    """
    # Python's sockets are close-on-exec: no child of ours keeps conmon's client alive.
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
    """Reach the bundle by a descriptor: its path may be longer than the name of a socket.

    `sun_path` holds 107 bytes and a NUL (unix(7)); /proc/self/fd/N/attach is short whatever the
    state directory is. conmon binds the name by the same way.
    """
    directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                return client.connect(f"/proc/self/fd/{directory}/attach")
            except (
                BlockingIOError
            ):  # the queue of connections is full, and poll(2) has no such event
                await asyncio.sleep(0.01)
    finally:
        os.close(directory)
