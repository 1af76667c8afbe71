"""What the journal says: records of operations, snapshots, and the state rebuilt from both."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from berth.base.quantity import Vector
from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan import Plan
from nodeagent.allocator.plan.plan_reading import Zones, parse_plan
from nodeagent.allocator.policy.frame import SharingPolicy
from nodeagent.allocator.values.event import Decision
from nodeagent.allocator.values.operation import (
    Operation,
    operation_document,
    operation_from_document,
)
from nodeagent.ledger.history import History
from nodeagent.ledger.journal.recovery import Recovered

VERSION = 1
PODS_KEPT = 1_000
"""Pods that ended and are still known by name."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a allocator is made with and no journal holds: zones, policy plug-ins, their clock."""

    zones: Zones
    policies: Mapping[str, SharingPolicy] = field(default_factory=dict)
    clock: Callable[[], int] = lambda: 0

    def allocator(self, plan: Plan, capacity: Mapping[str, Vector], now: int) -> Allocator:
        """An empty allocator."""
        zones, policies, clock = self.zones, self.policies, self.clock
        return Allocator(plan, capacity, now, zones=zones, policies=policies, clock=clock)


@dataclass(slots=True)
class DurableState:
    """All that is durable: the allocator, the events, and notes beside them.

    `pods` has names of pods by uid; `plan_digest` tells the plan file last put in force.
    """

    allocator: Allocator
    history: History
    pods: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    plan_digest: str = ""

    def note(self, notes: Mapping[str, Any]) -> None:
        """Take over what a record says besides its operation."""
        if "pod" in notes:
            self.pods.pop(notes["pod"]["uid"], None)
            self.pods[notes["pod"]["uid"]] = notes["pod"]
        self.plan_digest = notes.get("plan_digest", self.plan_digest)

    def holds(self, uid: str) -> bool:
        """Whether an allocation or a system pod of that id exists."""
        in_system = any(uid in pool.system for pool in self.allocator.pools.values())
        return in_system or uid in self.allocator.allocations

    def forget_old_pods(self) -> None:
        """Forget names of pods that ended, the oldest first."""
        ended = [uid for uid in self.pods if not self.holds(uid)]
        for uid in ended[: max(0, len(ended) - PODS_KEPT)]:
            del self.pods[uid]

    def snapshot(self) -> dict[str, Any]:
        """Everything, for the journal."""
        self.forget_old_pods()
        return {
            "version": VERSION,
            "ledger": self.allocator.to_document(),
            "history": self.history.saved(),
            "pods": list(self.pods.values()),
            "plan_digest": self.plan_digest,
        }


def first_record(
    plan: Plan, capacity: Mapping[str, Vector], now: int, digest: str
) -> dict[str, Any]:
    """The record a allocator begins with."""
    groups = {name: dict(vector) for name, vector in capacity.items()}
    document = {"plan": plan.document, "capacity": groups, "now": now}
    return {"version": VERSION, "first": document, "notes": {"plan_digest": digest}}


def record(operation: Operation, decision: Decision, notes: Mapping[str, Any]) -> dict[str, Any]:
    """An operation that was decided; a replay decides the same."""
    return {
        "op": operation_document(operation),
        "now": decision.now,
        "seq": decision.seq,
        "fallbacks": list(decision.fallbacks),
        "notes": dict(notes),
    }


def rebuilt(recovered: Recovered, frame: Frame) -> DurableState | None:
    """The state the journal describes, None for an empty journal.

    Raises ValueError for a journal of another version.
    """
    records: Iterable[Mapping[str, Any]] = recovered.records
    durable = _from_snapshot(recovered.state, frame) if recovered.snapshot else None
    for row in records:
        if durable is None:
            durable = _begun(row, frame)
        else:
            _replay(durable, row)
    if durable is not None:
        durable.history.show(durable.history.last)
    return durable


def _checked(document: Mapping[str, Any]) -> Mapping[str, Any]:
    if document.get("version") != VERSION:
        raise ValueError(
            f"the journal is of version {document.get('version')}, this agent reads {VERSION}; "
            "run the agent that wrote it, or move the state directory away and start empty"
        )
    return document


def _from_snapshot(state: Any, frame: Frame) -> DurableState:
    document = _checked(state)
    zones, policies, clock = frame.zones, frame.policies, frame.clock
    saved = document["ledger"]
    allocator = Allocator.from_document(saved, zones=zones, policies=policies, clock=clock)
    history = History(document["history"]["last"], document["history"]["events"])
    pods = {pod["uid"]: pod for pod in document["pods"]}
    return DurableState(allocator, history, pods, document["plan_digest"])


def _begun(row: Mapping[str, Any], frame: Frame) -> DurableState:
    first = _checked(row)["first"]
    plan = parse_plan(first["plan"], frame.zones)
    durable = DurableState(frame.allocator(plan, first["capacity"], first["now"]), History())
    durable.note(row["notes"])
    return durable


def _replay(durable: DurableState, row: Mapping[str, Any]) -> None:
    operation = operation_from_document(row["op"])
    decision = durable.allocator.apply(
        operation, row["now"], row["seq"], fallbacks=row["fallbacks"]
    )
    durable.history.add(event.to_document() for event in decision.events)
    durable.note(row["notes"])
