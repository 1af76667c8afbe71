"""Pods asked for, announced and released over the real socket."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from berth.base.errors import ResourceExhausted
from berth.linux.tasks import Tasks
from berth.pb import admission_v1_pb2 as pb
from cri_shim.admission.agent import AgentAdmission
from cri_shim.admission.contract import AdmitRequest
from cri_shim.model.resources import LinuxResources
from tests.nodeagent.agent_running import START, Agent, VirtualClock, agent_at, configured, pod


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_at(configured(tmp_path)) as running:
        yield running


async def test_admission_is_idempotent_by_uid(agent: Agent) -> None:
    for attempt in range(3):
        assert await agent.admit("a", "owner", 5, attempt=attempt) == "admitted"
    assert await agent.used() == {"owner": 5}
    assert await asyncio.gather(*[agent.admit("b", "owner", 3) for _ in range(5)]) == (
        ["admitted"] * 5
    )
    assert await agent.used() == {"owner": 8}
    for _ in range(2):
        await agent.release("a")
    assert await agent.used() == {"owner": 3}


async def test_a_held_pod_is_granted_after_a_release(agent: Agent) -> None:
    assert await agent.admit("a", "borrower", 10) == "admitted"
    held = await agent.admit("b", "borrower", 2)
    assert (held.consumer, held.shortage["slots"]) == ("borrower", 2)
    assert (held.deadline, held.refused) == (0, False)
    await agent.release("a")
    assert await agent.admit("b", "borrower", 2) == "admitted"
    assert await agent.used() == {"borrower": 2}


async def test_an_owner_is_told_the_deadline(agent: Agent) -> None:
    assert await agent.admit("a", "borrower", 10) == "admitted"
    held = await agent.admit("b", "owner", 4)
    assert (held.consumer, held.deadline) == ("owner", (START + 30_000) * 10**6)
    assert held.text == "waits for units that others are giving back"
    again = await agent.admit("b", "owner", 4)
    assert again == held


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pod("a", "nobody", 1), "the plan has no leaf consumer nobody"),
        (pod("a", "", 1, namespace="dev"), "it names no consumer"),
        (pod("a", "system", 1), "static and system pods only"),
        (pod("a", "owner", 1, namespace="dev"), "admits no pods of namespace 'dev'"),
        (pod("a", "owner", 11), "more than"),
        (pod("a", "owner", 1, annotations={"berth.dev/request.slots": "x"}), "berth.dev/request"),
        (pod("a", "owner", 1, annotations={"berth.dev/request.gpu": "1"}), "this node has no gpu"),
        (pod("a", "owner", -1), "vector.slots: is out of range"),
    ],
)
async def test_what_can_never_enter_says_why(
    agent: Agent, request_: pb.AdmitRequest, text: str
) -> None:
    answer = await agent.pods.Admit(request_)
    assert answer.held.refused
    assert text in answer.held.text
    assert await agent.used() == {}


async def test_static_and_system_pods_always_enter(agent: Agent) -> None:
    assert await agent.admit("a", "borrower", 10) == "admitted"
    assert await agent.admit("s", "borrower", 3, system=True) == "admitted"
    assert await agent.admit("k", "", 1, namespace="kube-system") == "admitted"
    (group,) = (await agent.status()).groups
    assert group.capacity["slots"] == 6
    assert await agent.admit("s", "borrower", 3, system=True) == "admitted"
    await agent.release("s")
    await agent.release("k")
    (group,) = (await agent.status()).groups
    assert group.capacity["slots"] == 10


async def test_firm_pods_enter_only_in_plan(agent: Agent) -> None:
    firm = {"annotations": {"berth.dev/non-preemptible": "true"}}
    assert (await agent.admit("a", "borrower", 3, **firm)).refused
    assert await agent.admit("b", "borrower", 2, **firm) == "admitted"


async def test_announced_pods_are_accounted_and_others_are_free(agent: Agent) -> None:
    await agent.admit("gone", "owner", 2)
    await agent.admit("stays", "owner", 1)
    await agent.admit("asking", "owner", 1)
    announced = [pod("stays", "owner", 1), pod("new", "borrower", 4)]
    message = pb.AnnounceRequest(pods=announced, asking=["asking"])
    await agent.pods.Announce(message)
    await agent.pods.Announce(message)
    assert await agent.used() == {"owner": 2, "borrower": 4}


async def test_an_announced_pod_beyond_its_plan_lessens_the_capacity(agent: Agent) -> None:
    await agent.admit("a", "borrower", 9)
    late = [pod("a", "borrower", 9), pod("b", "borrower", 3), pod("c", "nobody", 1)]
    await agent.pods.Announce(pb.AnnounceRequest(pods=late))
    (group,) = (await agent.status()).groups
    assert group.capacity["slots"] == 6
    assert await agent.admit("b", "borrower", 3) == "admitted"
    await agent.pods.Announce(pb.AnnounceRequest())
    (group,) = (await agent.status()).groups
    assert (group.capacity["slots"], await agent.used()) == (10, {})


async def test_a_pod_that_runs_already_is_never_held(agent: Agent) -> None:
    """As the runtime asks for its pods again after it was restarted."""
    await agent.admit("a", "borrower", 9)
    for _ in range(2):
        assert await agent.admit("b", "borrower", 3, running=True) == "admitted"
        (group,) = (await agent.status()).groups
        assert (group.capacity["slots"], await agent.used()) == (7, {"borrower": 9})
    await agent.release("b")
    assert (await agent.admit("b", "borrower", 3)).refused is False
    (group,) = (await agent.status()).groups
    assert group.capacity["slots"] == 10


async def test_a_pod_without_uid_is_refused(agent: Agent) -> None:
    for call, message in (
        (agent.pods.Admit, pb.AdmitRequest()),
        (agent.pods.Release, pb.ReleaseRequest()),
        (agent.pods.Announce, pb.AnnounceRequest(pods=[pb.AdmitRequest()])),
    ):
        with pytest.raises(grpc.aio.AioRpcError, match="pod_uid: is empty"):
            await call(message)


async def test_who_asks_no_more_is_forgotten(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with agent_at(configured(tmp_path), clock) as agent:
        await agent.admit("a", "borrower", 10)
        await agent.admit("b", "borrower", 1)
        watching = agent.ledger.history.watch(agent.ledger.history.durable)
        clock.advance(600)
        assert (await anext(watching)).document["type"] == "EXPIRED"
        assert "b" not in agent.ledger.allocator.allocations


async def test_the_shims_client_and_the_agent_understand_each_other(tmp_path: Path) -> None:
    wanted = AdmitRequest(
        pod_uid="u1",
        namespace="prod",
        name="web",
        attempt=0,
        labels={"berth.dev/consumer": "borrower"},
        annotations={},
        cgroup_parent="/kubepods/podu1",
        resources=LinuxResources(cpu_shares=8 * 1024),
        overhead=LinuxResources(),
    )
    plan = configured(tmp_path).plan.read_text().replace("slots", "cpu")
    config = configured(tmp_path, plan, capacity={"cpu": 10_000, "memory": 0})
    async with agent_at(config) as agent, Tasks() as tasks:
        client = AgentAdmission(str(config.socket), "required", tasks)
        client.announce([])
        await client.admit(wanted)
        with pytest.raises(ResourceExhausted, match="consumer borrower, shortage cpu 1"):
            await client.admit(
                replace(wanted, pod_uid="u2", resources=LinuxResources(cpu_shares=3072))
            )
        await client.release("u1")
        assert not agent.ledger.allocator.allocations["u2"].missing
        await client.close()
