"""A gRPC server on a unix socket for root alone; both daemons serve through one."""

import os
import socket
from pathlib import Path

import grpc

from berth.base.errors import FailedPrecondition

MAX_MESSAGE = 80 << 20
"""Bytes of one message: a list of a crowded node, or all its pods announced, annotations included
(cri-o's limit is the same)."""


class UnixServer:
    """Register services at `grpc`, then `start`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.grpc = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE),
                ("grpc.max_send_message_length", MAX_MESSAGE),
            ]
        )

    async def start(self) -> None:
        """Bind and serve.

        Raises FailedPrecondition if another daemon serves there, OSError if the socket cannot be
        made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # gRPC itself would unlink a socket that is in use and take its name: the other daemon would
        # go on without ever being asked again.
        refuse_if_served(self._path)
        self._path.unlink(missing_ok=True)
        # The umask, because a chmod after bind(2) leaves a moment in which anybody may connect. It
        # is the whole process's: no other thread makes files yet when a daemon begins to serve.
        before = os.umask(0o177)
        try:
            self.grpc.add_insecure_port(f"unix:{self._path}")
        except RuntimeError as cause:
            raise OSError(f"{self._path}: cannot listen: {cause}") from cause
        finally:
            os.umask(before)
        await self.grpc.start()

    async def stop(self, grace: float) -> None:
        """Let calls in flight finish within `grace` seconds; take the socket away."""
        await self.grpc.stop(grace)
        self._path.unlink(missing_ok=True)


def refuse_if_served(path: Path) -> None:
    """Raise FailedPrecondition if somebody accepts connections on a unix socket.

    A socket that kill -9 left behind refuses them.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise FailedPrecondition(f"another daemon serves on {path}: stop it first")
