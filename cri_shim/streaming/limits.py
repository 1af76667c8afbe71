"""Times and sizes the streaming server keeps to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """All times in seconds. Token, creation and idle times are those of the Kubernetes library."""

    token_lifetime: float = 60
    tokens: int = 1000
    connections: int = 1000
    head_timeout: float = 10
    """For the HTTP request, TLS handshake included."""
    creation_timeout: float = 30
    """For all streams of a command, and for both halves of a forwarded connection."""
    idle_timeout: float = 4 * 3600
    keepalive: float = 10
    """How often a client that we do not read is sent bytes that show whether it is still there."""
    linger: float = 5
    """How long a client may take to hang up after our last byte."""
    drain_quiet: float = 0.5
    """How long an output that a background child keeps open may be silent after the exit."""


# Wide enough that system calls cost little of 300 MB/s, small enough for a session to cost nothing:
# the buffers of CHUNK and RECEIVE are one each for the whole server.
CHUNK = 128 * 1024
"""Most payload of one frame towards the client."""
RECEIVE = 256 * 1024
"""Most bytes of one read from a client."""
WRITE_HIGH, WRITE_LOW = 256 * 1024, 64 * 1024
"""Bytes waiting for a slow client between which output is stopped."""
WRITE_LIMIT = 2 * 1024 * 1024
"""Beyond this (replies to a client that asks but does not read) input is stopped too."""
INPUT_HIGH, INPUT_LOW = 1024 * 1024, 256 * 1024
"""Bytes of a client waiting for slow processes or sockets between which it is not read."""
AFTER_EXIT = 4 * 1024 * 1024
"""Most that is read of an output after the exit: more than any pipe holds."""
