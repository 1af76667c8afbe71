"""berth.node.v1 over the real socket: operations, watching, plans, and a restart."""

import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.base.errors import FailedPrecondition
from berth.pb import node_v1_pb2 as pb
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.duties import plans as planning
from nodeagent.ledger import ledger as ledgers
from nodeagent.ledger.journal.errors import JournalError
from tests.nodeagent.agent_running import PLAN, Agent, VirtualClock, agent_at, configured, pod


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_at(configured(tmp_path)) as running:
        yield running


def slots(amount: int) -> pb.Vector:
    return pb.Vector(amounts={"slots": amount})


def asking(identity: str, consumer: str, amount: int, **fields: Any) -> pb.AllocationRequest:
    return pb.AllocationRequest(id=identity, consumer=consumer, unit=slots(amount), **fields)


async def test_operations(agent: Agent) -> None:
    node = agent.node
    decision = await node.Request(asking("a", "borrower", 1, min=2, max=20))
    assert decision.answer == pb.PARTIAL
    assert [event.type for event in decision.events] == ["PARTIAL"]
    assert await agent.used() == {"borrower": 10}
    claimed = await node.Request(asking("o", "owner", 3))
    assert (claimed.answer, claimed.shortage.amounts["slots"]) == (pb.RECLAIMING, 3)
    (notice,) = [event for event in claimed.events if event.type == "RECLAIM_NOTICE"]
    identity = json.loads(notice.details)["notice"]
    offer = pb.OfferRequest(notice=identity, entries=[pb.OfferEntry(id="a", amounts=slots(3))])
    assert (await node.Offer(offer)).answer == pb.DONE
    freed = await node.Release(pb.ReleaseRequest(id="a", amounts=slots(3)))
    assert "GRANTED" in [event.type for event in freed.events]
    assert await agent.used() == {"borrower": 7, "owner": 3}
    await node.Modify(pb.ModifyRequest(id="o", delta=slots(-1)))
    assert (await agent.used())["owner"] == 2
    await node.Cancel(pb.CancelRequest(id="a"))
    await node.Release(pb.ReleaseRequest(id="o"))
    await node.Block(pb.BlockRequest(unit="s9", amounts=slots(1)))
    (group,) = (await agent.status()).groups
    assert group.capacity["slots"] == 9
    await node.Unblock(pb.UnblockRequest(unit="s9"))
    (group,) = (await agent.status()).groups
    assert (group.capacity["slots"], group.free["slots"]) == (10, 10 - (await used_of(agent)))


async def used_of(agent: Agent) -> int:
    return sum((await agent.used()).values())


@pytest.mark.parametrize(
    ("call", "message", "code", "text"),
    [
        ("Request", asking("", "owner", 1), "INVALID_ARGUMENT", "id: is no text"),
        ("Request", asking("a", "owner", -1), "INVALID_ARGUMENT", "vector.slots: is out of range"),
        (
            "Request",
            asking("a", "owner", 1, group="x"),
            "INVALID_ARGUMENT",
            "group: 'x' is no group",
        ),
        ("Request", asking("a", "owner", 1, min=3, max=2), "INVALID_ARGUMENT", "maximum"),
        ("Release", pb.ReleaseRequest(id="x"), "NOT_FOUND", "'x' is no allocation"),
        ("Cancel", pb.CancelRequest(id="x"), "NOT_FOUND", "'x' is no allocation"),
        ("Modify", pb.ModifyRequest(id="x"), "NOT_FOUND", "'x' is no allocation"),
        ("Offer", pb.OfferRequest(notice="x"), "NOT_FOUND", "notice: is no open notice"),
        ("Explain", pb.ExplainRequest(name="x"), "NOT_FOUND", "no pod or allocation 'x'"),
        ("PlanApply", pb.PlanApplyRequest(document="a: ["), "INVALID_ARGUMENT", "plan:1:5"),
        ("PlanApply", pb.PlanApplyRequest(document="3"), "INVALID_ARGUMENT", "found 3"),
    ],
)
async def test_errors_name_what_is_wrong(
    agent: Agent, call: str, message: Any, code: str, text: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(agent.node, call)(message)
    assert caught.value.code().name == code
    assert text in (caught.value.details() or "")
    assert await agent.used() == {}


async def test_a_resource_that_the_node_lacks_is_refused(agent: Agent) -> None:
    unit = pb.Vector(amounts={"gpu": 1})
    request = pb.AllocationRequest(id="a", consumer="owner", unit=unit)
    decision = await agent.node.Request(request)
    assert decision.answer == pb.REFUSED
    assert "gpu" in decision.reason
    assert (await agent.node.Request(asking("a", "owner", 1))).answer == pb.GRANTED


async def test_watching_from_a_cursor(agent: Agent) -> None:
    await agent.node.Request(asking("a", "borrower", 4))
    first = (await agent.status()).cursor
    await agent.node.Request(asking("b", "owner", 4))
    everything = agent.node.Watch(pb.WatchRequest())
    events = [await anext(aiter(everything)) for _ in range(2)]
    assert [(it.type, it.allocation) for it in events] == [("GRANTED", "a"), ("GRANTED", "b")]
    later = aiter(agent.node.Watch(pb.WatchRequest(cursor=first)))
    assert (await anext(later)).allocation == "b"
    mine = aiter(agent.node.Watch(pb.WatchRequest(cursor=first, consumer="borrower")))
    await agent.node.Release(pb.ReleaseRequest(id="b"))
    await agent.node.Release(pb.ReleaseRequest(id="a"))
    freed = await anext(mine)
    assert (freed.type, freed.allocation, freed.consumer) == ("FREED", "a", "borrower")
    assert freed.cursor == first + 3
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(aiter(agent.node.Watch(pb.WatchRequest(cursor=10**6))))
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def fill(agent: Agent) -> None:
    """Pods and allocations in every state."""
    await agent.admit("p1", "borrower", 5)
    await agent.node.Request(asking("e", "borrower", 1, min=1, max=5))
    await agent.admit("s", "", 1, namespace="kube-system")
    await agent.admit("o", "owner", 3)
    await agent.admit("q", "borrower", 4)


async def everything(agent: Agent) -> tuple[Any, list[Any], list[Any]]:
    cursor = (await agent.status()).cursor
    stream = aiter(agent.node.Watch(pb.WatchRequest()))
    events = [await anext(stream) for _ in range(cursor)]
    names = ("p1", "e", "s", "o", "prod/pod-o")
    lines = [(await agent.node.Explain(pb.ExplainRequest(name=it))).lines for it in names]
    return await agent.status(), events, [list(it) for it in lines]


@pytest.mark.parametrize("every", [1, 3, 5000])
async def test_a_restart_gives_the_same_status_and_events(
    tmp_path: Path, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "SNAPSHOT_EVERY", every)
    config, clock = configured(tmp_path), VirtualClock()
    async with agent_at(config, clock) as agent:
        await fill(agent)
        before = await everything(agent)
        document = agent.ledger.allocator.to_document()
    async with agent_at(config, clock) as agent:
        assert agent.ledger.allocator.to_document() == document
        assert await everything(agent) == before
        await agent.release("p1")
        assert (await agent.status()).cursor > before[0].cursor


async def test_a_crash_gives_the_same_status_and_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the snapshot that an orderly end writes, the log alone says it all."""
    config, clock = configured(tmp_path), VirtualClock()
    async with agent_at(config, clock) as agent:
        await fill(agent)
        before = await everything(agent)
        monkeypatch.setattr(agent.ledger, "_journal", _NoSnapshots(agent.ledger._journal))
    assert not list((config.state / "journal").glob("snapshot-*"))
    async with agent_at(config, clock) as agent:
        assert await everything(agent) == before


class _NoSnapshots:
    """A journal whose last snapshot fails, as the one of a killed agent would."""

    def __init__(self, journal: Any) -> None:
        self._journal = journal

    def snapshot(self, state: Any) -> Any:
        raise JournalError("killed")

    async def close(self) -> None:
        await self._journal.close()


async def test_explanations(agent: Agent) -> None:
    await fill(agent)
    lines = (await agent.node.Explain(pb.ExplainRequest(name="prod/pod-p1"))).lines
    assert lines[0] == "pod prod/pod-p1 (p1)"
    assert "of consumer borrower, group default" in lines[1]
    assert lines[2] == "  asks for slots 5 (estimated from its cgroup settings); holds slots 5"
    owner = (await agent.node.Explain(pb.ExplainRequest(name="o"))).lines
    assert any("waits for slots" in line and "give back by 2023-11-14T" in line for line in owner)
    system = (await agent.node.Explain(pb.ExplainRequest(name="s"))).lines
    assert "always admitted" in system[1]
    await agent.release("p1")
    ended = (await agent.node.Explain(pb.ExplainRequest(name="p1"))).lines
    assert ended[1] == "  ended"
    assert any("FREED" in line for line in ended)


async def test_the_socket_is_for_root_alone(agent: Agent) -> None:
    assert stat.S_IMODE(os.stat(agent.config.socket).st_mode) == 0o600


async def test_a_second_agent_is_refused(agent: Agent) -> None:
    with pytest.raises(JournalError, match="in use by process"):
        async with agent_at(agent.config):
            pass
    assert (await agent.status()).plan == "two"


async def test_a_socket_that_is_served_is_not_taken(agent: Agent, tmp_path: Path) -> None:
    """An agent with a state of its own, but by mistake on the first one's socket."""
    other = configured(tmp_path, socket=agent.config.socket, state=tmp_path / "other")
    with pytest.raises(FailedPrecondition, match="another daemon serves on "):
        async with agent_at(other):
            pass
    assert await agent.admit("a", "owner", 1) == "admitted"
    assert agent.config.socket.exists()


async def apply(agent: Agent, text: str) -> str:
    answer = await agent.node.PlanApply(pb.PlanApplyRequest(document=text))
    return str(answer.name)


async def test_a_plan_is_applied_whole_or_not_at_all(tmp_path: Path) -> None:
    config = configured(tmp_path)
    async with agent_at(config) as agent:
        before = (await agent.node.PlanShow(pb.PlanShowRequest())).document
        for bad, path in (
            (PLAN.replace("slots: 8", "slots: -8"), "consumers[0].own.slots"),
            (PLAN.replace("slots: 8", "slots: 80"), "consumers"),
            (PLAN.replace("windows", "doors"), "spec.groups[0].doors"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await apply(agent, bad)
            assert path in (caught.value.details() or "")
            assert (await agent.node.PlanShow(pb.PlanShowRequest())).document == before
        assert await apply(agent, PLAN.replace("two", "three")) == "three"
    async with agent_at(config) as agent:
        assert (await agent.status()).plan == "three", "the unchanged file does not win again"


async def test_the_plan_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "POLL_SECONDS", 0.01)
    config = configured(tmp_path)
    async with agent_at(config) as agent:
        news = agent.ledger.history.watch(agent.ledger.history.durable)
        config.plan.write_text("spec: [")
        config.plan.write_text(PLAN.replace("two", "bad").replace("slots: 8", "slots: much"))
        config.plan.write_text(PLAN.replace("two", "better").replace("share: 0", "share: 3"))
        assert (await anext(news)).document["type"] == "PLAN_CHANGED"
        assert (await agent.status()).plan == "better"


async def test_a_bad_file_keeps_the_plan_in_force(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(tmp_path)
    async with agent_at(config):
        pass
    config.plan.write_text(PLAN.replace("slots: 8", "slots: much"))
    async with agent_at(config) as agent:
        assert (await agent.status()).plan == "two"
        assert "consumers[0].own.slots" in caplog.text
    config.plan.unlink()
    caplog.clear()
    async with agent_at(config) as agent:
        assert (await agent.status()).plan == "two"
        assert caplog.text == "", "a file that is gone is no bad file"
    config.plan.write_text(PLAN.replace("two", "new"))
    async with agent_at(config) as agent:
        assert (await agent.status()).plan == "new"


async def test_the_first_plan_must_be_good(tmp_path: Path) -> None:
    config = configured(tmp_path, PLAN.replace("slots: 8", "slots: much"))
    with pytest.raises(DocumentRefused, match="slots"):
        async with agent_at(config):
            pass
    config.plan.write_text(PLAN)
    async with agent_at(config) as agent:
        assert (await agent.status()).plan == "two"


async def test_without_a_plan_one_consumer_may_have_everything(tmp_path: Path) -> None:
    async with agent_at(configured(tmp_path, None)) as agent:
        assert await agent.admit("a", "", 10, namespace="any") == "admitted"
        assert (await agent.pods.Admit(pod("b", "", 1))).held.consumer == "default"


async def test_capacity_follows_the_configuration(tmp_path: Path) -> None:
    async with agent_at(configured(tmp_path)):
        pass
    more = configured(tmp_path, capacity={"slots": 12, "cpu": 0, "memory": 0})
    async with agent_at(more) as agent:
        (group,) = (await agent.status()).groups
        assert group.capacity["slots"] == 12


async def test_a_new_group_gets_its_slice_at_once(tmp_path: Path) -> None:
    """A consumer of the new group owns what the configuration slices off for it."""
    extra = """
  - name: extra
    windows:
    - when: always
      consumers: [{name: guest, own: {slots: 2}}]
"""
    config, clock = configured(tmp_path, slices={"extra": {"slots": 2}}), VirtualClock()
    async with agent_at(config, clock) as agent:
        await agent.admit("a", "owner", 6)
        less = PLAN.replace("two", "more").replace("slots: 8", "slots: 6").rstrip()
        assert await apply(agent, less + extra) == "more"
        assert {it.name: it.capacity["slots"] for it in (await agent.status()).groups} == {
            "default": 8,
            "extra": 2,
        }
        assert (await agent.node.Request(asking("g", "guest", 2))).answer == pb.GRANTED
        document = agent.ledger.allocator.to_document()
    async with agent_at(config, clock) as agent:
        assert agent.ledger.allocator.to_document() == document
