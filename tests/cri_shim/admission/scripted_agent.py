"""A gRPC server on a unix socket that answers as a test says and remembers what it was told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from berth.pb import admission_v1_pb2 as pb
from berth.pb.admission_v1_pb2_grpc import PodAdmissionServicer, add_PodAdmissionServicer_to_server


class ScriptedAgent(PodAdmissionServicer):
    """`answer` is given to every Admit (None: never answers)."""

    def __init__(self) -> None:
        self.answer: pb.AdmitResponse | None = pb.AdmitResponse(admitted=pb.Admitted())
        self.asked: list[pb.AdmitRequest] = []
        self.released: list[str] = []
        self.announced: asyncio.Queue[pb.AnnounceRequest] = asyncio.Queue()
        self.revocations: asyncio.Queue[pb.RevokedPod] = asyncio.Queue()
        self.release_fails = False

    async def Admit(self, request, context):  # type: ignore[no-untyped-def]
        self.asked.append(request)
        if self.answer is None:
            await asyncio.Event().wait()
        return self.answer

    async def Release(self, request, context):  # type: ignore[no-untyped-def]
        if self.release_fails:
            await context.abort(grpc.StatusCode.INTERNAL, "not now")
        self.released.append(request.pod_uid)
        return pb.ReleaseResponse()

    async def Announce(self, request, context):  # type: ignore[no-untyped-def]
        self.announced.put_nowait(request)
        return pb.AnnounceResponse()

    async def Revoked(self, request, context):  # type: ignore[no-untyped-def]
        while True:
            yield await self.revocations.get()


@asynccontextmanager
async def serving(agent: ScriptedAgent, socket: Path) -> AsyncIterator[None]:
    server = grpc.aio.server()
    add_PodAdmissionServicer_to_server(agent, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
