"""Granted requests, and the Protocols of what they open.

`verbs.streams` implements `Opener`; the tests do it with plain processes.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from cri_shim.wire.remote_command import Wanted


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """Run a command in a container. `command` may hold any bytes but NUL."""

    container_id: str
    command: tuple[bytes, ...]
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class AttachRequest:
    """Join the terminal or the streams of a running container, from now on."""

    container_id: str
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class PortForwardRequest:
    """Reach ports of a pod. `ports` binds WebSocket clients only; SPDY streams name their port."""

    sandbox_id: str
    ports: tuple[int, ...]


StreamRequest = ExecRequest | AttachRequest | PortForwardRequest


class RunningCommand(Protocol):
    """A command that runs. The descriptors are pipes, a pty or sockets: non-blocking, pollable.

    None stands for a stream that was not asked for. With a terminal, stdin and stdout are the pty
    master (they may be the same descriptor) and stderr is None. All belong to the command;
    the server reads and writes them until it calls `close`, and never closes them itself.
    """

    @property
    def stdin(self) -> int | None: ...
    @property
    def stdout(self) -> int | None: ...
    @property
    def stderr(self) -> int | None: ...

    def close_stdin(self) -> None:
        """The client finished stdin: close the write end; nothing to do for a terminal."""

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size, in character cells."""

    async def wait(self) -> int:
        """The exit code, 128+n for signal n, once what the command wrote can be read at once."""

    async def close(self) -> None:
        """Close the descriptors; before `wait` has ended (the client left) also kill the group."""


class Attachment(Protocol):
    """A connected, non-blocking SOCK_SEQPACKET socket of conmon (`wire.conmon_packets`)."""

    @property
    def socket(self) -> socket.socket: ...

    async def resize(self, width: int, height: int) -> None:
        """Set the terminal's size, in character cells."""

    async def close(self) -> None:
        """Leave: close the socket; the container goes on. Idempotent."""


class Opener(Protocol):
    """Opens what a request asks for. Errors are `base.errors`: the user reads their text."""

    async def exec(
        self, container_id: str, command: Sequence[bytes], wanted: Wanted
    ) -> RunningCommand: ...

    async def attach(self, container_id: str, wanted: Wanted) -> Attachment: ...

    async def dial(self, sandbox_id: str, port: int) -> socket.socket:
        """A connected, non-blocking TCP socket to the pod's localhost: IPv4, then IPv6."""
