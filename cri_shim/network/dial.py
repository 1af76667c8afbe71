"""A connection to a port inside a pod, for port forwarding."""

import asyncio
import errno
import os
import socket

from berth.base.errors import InvalidArgument, NotFound, Unavailable
from cri_shim.network.threads import inside

_LOCALHOST = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def dial(netns: str | None, port: int) -> socket.socket:
    """A connected, non-blocking socket to localhost in the namespace (None: the host's), by IPv4,
    else by IPv6. Unavailable when nothing listens there, NotFound when the namespace is gone."""
    if not 1 <= port <= 65535:
        raise InvalidArgument(f"port {port} is not in 1 to 65535")
    reasons = []
    for family, address in _LOCALHOST:
        try:
            return await _connected(netns, family, (address, port))
        except FileNotFoundError as error:
            raise NotFound(f"the pod's network namespace is gone: {error.filename}") from error
        except OSError as error:
            reasons.append(f"{address}: {os.strerror(error.errno or errno.EIO)}")
    raise Unavailable(f"nothing listens on port {port} in the pod ({', '.join(reasons)})")


async def _connected(netns: str | None, family: int, address: tuple[str, int]) -> socket.socket:
    """A socket belongs to the namespace of the thread that made it, wherever it is used."""
    made = await asyncio.to_thread(inside, netns, lambda: socket.socket(family, socket.SOCK_STREAM))
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made
