"""Calls to a running agent, for the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from berth.base.errors import BerthError
from berth.pb.node_v1_pb2_grpc import NodeAllocatorStub

SECONDS = 10.0
"""How long the command line waits for a response."""


class CallFailed(BerthError):
    """The agent is not running or refused the call; the message is for people."""


@contextmanager
def agent(socket: Path) -> Iterator[Any]:
    """The stub of berth.node.v1; errors of its calls become CallFailed."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        try:
            yield NodeAllocatorStub(channel)
        except grpc.RpcError as error:
            raise CallFailed(_message(socket, error)) from error


def _message(socket: Path, error: Any) -> str:
    # gRPC's own text for this is about a failed connection and names no remedy.
    if error.code() is grpc.StatusCode.UNAVAILABLE and not socket.exists():
        return f"no agent listens on {socket}; start it with nodeagent serve, or name its socket"
    return str(error.details())
