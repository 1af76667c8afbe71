"""The agent's gRPC server on its unix socket, for root alone."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from berth.pb.admission_v1_pb2_grpc import add_PodAdmissionServicer_to_server
from berth.pb.node_v1_pb2_grpc import add_NodeAllocatorServicer_to_server
from nodeagent.api.admission import PodAdmission
from nodeagent.api.allocator import NodeAllocator
from nodeagent.duties.plans import Plans
from nodeagent.ledger.ledger import Ledger

_GRACE_SECONDS = 1.0
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20)]
"""A node's pods are announced in one message, annotations included."""


@asynccontextmanager
async def serving(
    socket: Path, ledger: Ledger, plans: Plans, queues: Mapping[str, str]
) -> AsyncIterator[None]:
    """Serve both protocols while inside. Raises OSError if the socket cannot be made."""
    server = grpc.aio.server(options=_OPTIONS)
    admission: Any = add_PodAdmissionServicer_to_server
    node: Any = add_NodeAllocatorServicer_to_server
    admission(PodAdmission(ledger, queues), server)
    node(NodeAllocator(ledger, plans), server)
    _listen(server, socket)
    await server.start()
    try:
        yield
    finally:
        await server.stop(_GRACE_SECONDS)
        socket.unlink(missing_ok=True)


def _listen(server: grpc.aio.Server, socket: Path) -> None:
    """Bind with no permissions for others from the first moment on."""
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{socket}")
    except RuntimeError as cause:
        raise OSError(f"{socket}: cannot listen: {cause}") from cause
    finally:
        os.umask(before)
    socket.chmod(0o600)
