"""The allocator as a state machine driven by hypothesis, invariants checked after every step."""

import json
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import (
    ApplyPlan,
    Cancel,
    Modify,
    Offer,
    Operation,
    Release,
    Request,
    SetCapacity,
    Stopping,
    Tick,
)
from tests.nodeagent.allocator.invariants import check_all, check_protection
from tests.nodeagent.allocator.plans import document, spec

LEAVES = ("a", "b1", "b2", "c")
AMOUNTS = st.integers(0, 6)


@st.composite
def trees(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Four leaves in a fixed shape; everything about them drawn."""

    def row(name: str, most: int) -> dict[str, Any]:
        own = draw(st.integers(0, most))
        found: dict[str, Any] = {
            "name": name,
            "own": {"u": own},
            "share": draw(st.integers(0, 3)),
            "reserve": {"u": draw(st.integers(0, own))},
            "grace": draw(st.sampled_from(["0s", "0s", "10s"])),
            "rank": draw(st.integers(1, 2)),
        }
        if draw(st.booleans()):
            found["limit"] = {"u": own + draw(AMOUNTS)}
        if draw(st.integers(0, 4)) == 0:
            found["borrowLimit"] = {"u": draw(AMOUNTS)}
        return found

    group = row("b", 4)
    inside = group["own"]["u"]
    first = row("b1", inside)
    group["consumers"] = [first, row("b2", inside - first["own"]["u"])]
    return [row("a", 3), group, row("c", 3)]


class AllocatorMachine(RuleBasedStateMachine):
    """Requests, releases, negotiation, capacity and plans in any order."""

    @initialize(rows=trees(), rebalance=st.sampled_from(["sticky", "adjust"]))
    def begin(self, rows: list[dict[str, Any]], rebalance: str) -> None:
        self.rebalance = rebalance
        plan = parse_spec(spec(rows, rebalance=rebalance), ZoneInfo)
        self.allocator = Allocator(plan, {"default": {"u": 12}}, 0, zones=ZoneInfo)
        self.now, self.seq, self.made = 0, 0, 0
        self.notices: list[dict[str, Any]] = []
        self.forced: list[dict[str, Any]] = []

    def _apply(self, operation: Operation) -> None:
        self.seq += 1
        decision = self.allocator.apply(operation, self.now, self.seq)
        check_protection(self.allocator, decision)
        for event in decision.events:
            if event.type is EventType.RECLAIM_NOTICE:
                self.notices.append(dict(event.fields))
            if event.type is EventType.FORCED:
                self.forced += event.fields["strict"]

    @rule(
        leaf=st.sampled_from(LEAVES),
        amount=st.integers(1, 4),
        most=st.integers(1, 3),
        firm=st.integers(0, 9).map(lambda dice: dice == 0),
        retry=st.booleans(),
    )
    def request(self, leaf: str, amount: int, most: int, firm: bool, retry: bool) -> None:
        self.made += 1
        self._apply(
            Request(f"p{self.made}", leaf, {"u": amount}, maximum=most, firm=firm, retry=retry)
        )

    def _some(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.allocator.allocations)))

    @precondition(lambda self: self.allocator.allocations)
    @rule(data=st.data(), part=st.none() | AMOUNTS, again=st.booleans())
    def release(self, data: st.DataObject, part: int | None, again: bool) -> None:
        vector = None if part is None else {"u": part}
        self._apply(Release(self._some(data), vector, autoadjust=not again))

    @precondition(lambda self: self.allocator.allocations)
    @rule(data=st.data(), amount=AMOUNTS, kind=st.sampled_from(["modify", "cancel", "stopping"]))
    def change(self, data: st.DataObject, amount: int, kind: str) -> None:
        identity = self._some(data)
        operations: dict[str, Operation] = {
            "modify": Modify(identity, {"u": amount}),
            "cancel": Cancel(identity),
            "stopping": Stopping(identity),
        }
        self._apply(operations[kind])

    @precondition(lambda self: self.forced)
    @rule(again=st.booleans())
    def obey(self, again: bool) -> None:
        row = self.forced.pop()
        if row["id"] in self.allocator.allocations:
            self._apply(Release(row["id"], row["vector"], autoadjust=not again))

    @precondition(lambda self: self.notices)
    @rule(data=st.data())
    def offer(self, data: st.DataObject) -> None:
        notice = self.notices.pop()
        rows = data.draw(st.lists(st.sampled_from(notice["candidates"]), max_size=4))
        live = {
            key
            for pool in self.allocator.pools.values()
            for claim in pool.claims.values()
            for key in claim.notices
        }
        if notice["notice"] in live:
            entries = tuple((row["id"], None) for row in rows)
            self._apply(Offer(notice["notice"], entries))

    @rule(seconds=st.integers(0, 70))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 1000
        self._apply(Tick())

    @rule(amount=st.integers(10, 14))
    def resize(self, amount: int) -> None:
        self._apply(SetCapacity({"u": amount}))

    @rule(rows=trees())
    def replan(self, rows: list[dict[str, Any]]) -> None:
        self._apply(ApplyPlan(document(rows, rebalance=self.rebalance, overAllocate=True)))

    @rule()
    def restart(self) -> None:
        """The agent is killed and its allocator read back: nothing is different."""
        before = json.dumps(self.allocator.to_document())
        self.allocator = Allocator.from_document(json.loads(before), zones=ZoneInfo)
        assert json.dumps(self.allocator.to_document()) == before

    @invariant()
    def invariants_hold(self) -> None:
        if hasattr(self, "allocator"):
            check_all(self.allocator)


AllocatorMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestAllocator = AllocatorMachine.TestCase
