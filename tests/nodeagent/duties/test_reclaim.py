"""Reclaim at the deadline, through a CRI socket: stopped, counted until gone, then the owner's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.pb import admission_v1_pb2 as admission
from berth.pb import runtime_v1_pb2 as cri
from berth.pb.runtime_v1_pb2_grpc import (
    RuntimeServiceServicer,
    add_RuntimeServiceServicer_to_server,
)
from nodeagent.duties import reclaim
from tests.nodeagent.agent_running import START, VirtualClock, agent_at, configured


class Runtime(RuntimeServiceServicer):
    """Sandboxes by id with their pods' uids, and what was stopped."""

    def __init__(self, **sandboxes: str) -> None:
        self.sandboxes = sandboxes
        self.stopped: asyncio.Queue[str] = asyncio.Queue()
        self.fails = 0

    async def ListPodSandbox(self, request: Any, context: Any) -> cri.ListPodSandboxResponse:
        items = [
            cri.PodSandbox(id=sandbox, metadata=cri.PodSandboxMetadata(uid=uid))
            for sandbox, uid in self.sandboxes.items()
        ]
        return cri.ListPodSandboxResponse(items=items)

    async def StopPodSandbox(self, request: Any, context: Any) -> cri.StopPodSandboxResponse:
        if self.fails:
            self.fails -= 1
            await context.abort(grpc.StatusCode.UNKNOWN, "conmon is stuck")
        self.stopped.put_nowait(request.pod_sandbox_id)
        return cri.StopPodSandboxResponse()


@asynccontextmanager
async def runtime_at(socket: Path, runtime: Runtime) -> AsyncIterator[Runtime]:
    server = grpc.aio.server()
    register: Any = add_RuntimeServiceServicer_to_server
    register(runtime, server)
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield runtime
    finally:
        await server.stop(None)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reclaim, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(reclaim, "_LONGEST_PAUSE", 0.01)


async def test_the_borrower_is_stopped_at_the_deadline_and_the_owner_runs(tmp_path: Path) -> None:
    config, clock = configured(tmp_path), VirtualClock()
    async with (
        runtime_at(config.cri_socket, Runtime(sb="b", other="x")) as runtime,
        agent_at(config, clock) as agent,
    ):
        revoked = aiter(agent.pods.Revoked(admission.RevokedRequest()))
        assert await agent.admit("b", "borrower", 10) == "admitted"
        assert (await agent.admit("o", "owner", 8)).deadline == (START + 30_000) * 10**6
        clock.advance(29)
        assert runtime.stopped.empty()
        clock.advance(1)
        assert await runtime.stopped.get() == "sb"
        told = await anext(revoked)
        assert (told.pod_uid, told.claimant) == ("b", "owner")
        assert told.deadline == (START + 30_000) * 10**6
        assert await agent.used() == {"borrower": 10}, "used until its processes are gone"
        assert (await agent.admit("b", "borrower", 10)).text == (
            "it is being stopped: its units go back to their owner"
        )
        assert await agent.admit("o", "owner", 8) != "admitted"
        await agent.release("b")
        assert await agent.admit("o", "owner", 8) == "admitted"
        assert await agent.used() == {"owner": 8}


async def test_a_stop_that_fails_is_tried_again(tmp_path: Path) -> None:
    config, clock = configured(tmp_path), VirtualClock()
    runtime = Runtime(sb="b")
    runtime.fails = 2
    async with agent_at(config, clock) as agent:
        await agent.admit("b", "borrower", 10)
        await agent.admit("o", "owner", 8)
        clock.advance(30)
        async with runtime_at(config.cri_socket, runtime):
            assert await runtime.stopped.get() == "sb"
            assert runtime.fails == 0
            await agent.release("b")
            assert await agent.admit("o", "owner", 8) == "admitted"


async def test_a_restart_goes_on_stopping(tmp_path: Path) -> None:
    config, clock = configured(tmp_path), VirtualClock()
    async with agent_at(config, clock) as agent:
        await agent.admit("b", "borrower", 10)
        await agent.admit("o", "owner", 8)
        news = agent.ledger.history.watch(agent.ledger.history.durable)
        clock.advance(30)
        assert (await anext(news)).document["type"] == "FORCED"
    async with (
        runtime_at(config.cri_socket, Runtime(sb="b")) as runtime,
        agent_at(config, clock) as agent,
    ):
        assert await runtime.stopped.get() == "sb"
        told = await anext(aiter(agent.pods.Revoked(admission.RevokedRequest())))
        assert told.pod_uid == "b"
        await agent.release("b")
        assert await agent.admit("o", "owner", 8) == "admitted"


async def test_a_restart_after_the_deadline_forces_at_once(tmp_path: Path) -> None:
    config, clock = configured(tmp_path), VirtualClock()
    async with agent_at(config, clock) as agent:
        await agent.admit("b", "borrower", 10)
        await agent.admit("o", "owner", 8)
    clock.advance(100)
    async with (
        runtime_at(config.cri_socket, Runtime(sb="b")) as runtime,
        agent_at(config, clock) as agent,
    ):
        assert await runtime.stopped.get() == "sb"
        await agent.release("b")


async def test_allocations_that_are_no_pods_are_left_to_their_clients(tmp_path: Path) -> None:
    from berth.pb import node_v1_pb2 as node

    config, clock = configured(tmp_path), VirtualClock()
    async with (
        runtime_at(config.cri_socket, Runtime(sb="b")) as runtime,
        agent_at(config, clock) as agent,
    ):
        unit = node.Vector(amounts={"slots": 10})
        await agent.node.Request(node.AllocationRequest(id="b", consumer="borrower", unit=unit))
        await agent.admit("o", "owner", 8)
        news = agent.ledger.history.watch(agent.ledger.history.durable)
        clock.advance(30)
        assert (await anext(news)).document["type"] == "FORCED"
        await agent.node.Release(node.ReleaseRequest(id="b"))
        assert runtime.stopped.empty()
