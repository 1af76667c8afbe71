"""A connection to a port inside a pod, for port forwarding."""

import asyncio
import errno
import os
import socket

from cri_shim.model.errors import InvalidArgument, NotFound, Unavailable
from cri_shim.network.threads import inside

_LOCALHOST = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def dial(netns: str | None, port: int) -> socket.socket:
    """A connected, non-blocking socket to localhost in the namespace (None: the host's), by IPv4,
    else by IPv6. Unavailable when nothing listens there, NotFound when the namespace is gone."""
    if not 1 <= port <= 65535:
        raise InvalidArgument(f"port {port} is not in 1 to 65535")
    try:
        sockets = await asyncio.to_thread(inside, netns, _sockets)
    except FileNotFoundError as error:
        raise NotFound(f"the pod's network namespace is gone: {error.filename}") from error
    reasons = []
    chosen = None
    for address, candidate in sockets:
        if chosen is not None:
            candidate.close()
            continue
        try:
            await asyncio.get_running_loop().sock_connect(candidate, (address, port))
            chosen = candidate
        except OSError as error:
            candidate.close()
            reasons.append(f"{address}: {os.strerror(error.errno or errno.EIO)}")
        except BaseException:
            for _, open_socket in sockets:
                open_socket.close()
            raise
    if chosen is None:
        raise Unavailable(f"nothing answers on port {port} in the pod ({', '.join(reasons)})")
    return chosen


def _sockets() -> list[tuple[str, socket.socket]]:
    """One socket a family; a kernel without IPv6 has only the first."""
    made = []
    for family, address in _LOCALHOST:
        try:
            made.append((address, socket.socket(family, socket.SOCK_STREAM)))
        except OSError as error:
            if error.errno != errno.EAFNOSUPPORT:
                for _, one in made:
                    one.close()
                raise
    for _, one in made:
        one.setblocking(False)
    return made
