"""The agent's gRPC server on its unix socket, for root alone."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from berth.base.grpc_server import UnixServer
from berth.pb.admission_v1_pb2_grpc import add_PodAdmissionServicer_to_server
from berth.pb.node_v1_pb2_grpc import add_NodeAllocatorServicer_to_server
from nodeagent.api.admission import PodAdmission
from nodeagent.api.allocator import NodeAllocator
from nodeagent.duties.plans import Plans
from nodeagent.ledger.ledger import Ledger

# Watch and Revoked last as long as their clients: a stop cancels them when this has passed.
_GRACE_SECONDS = 1.0


@asynccontextmanager
async def serving(
    socket: Path, ledger: Ledger, plans: Plans, queues: Mapping[str, str]
) -> AsyncIterator[None]:
    """Serve both protocols while inside.

    Raises FailedPrecondition if another daemon serves there, OSError if the socket cannot be made.
    """
    server = UnixServer(socket)
    admission: Any = add_PodAdmissionServicer_to_server
    node: Any = add_NodeAllocatorServicer_to_server
    admission(PodAdmission(ledger, queues), server.grpc)
    node(NodeAllocator(ledger, plans), server.grpc)
    await server.start()
    try:
        yield
    finally:
        await server.stop(_GRACE_SECONDS)
