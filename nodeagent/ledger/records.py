"""What the journal says: records of operations, snapshots, and the state rebuilt from both.

Records hold operations, not their results: a replay decides again. That works because the allocator
is deterministic in (operation, now, seq) and because a record keeps what is not a function of them:
which calls of policy plug-ins failed. It also means that a change of the allocator's rules changes
what records mean that were written before it, unless a snapshot came after them (every orderly end
writes one): then VERSION has to grow.

    first record   {version, first: {plan, capacity, now}, notes}
    other records  {op: {…}, now, seq, fallbacks, notes}
    snapshot       {version, ledger: the allocator's document, history, pods, plan_digest}

`notes` is what a record says beside its operation, because no operation has a field for it: `pod`
(uid, namespace, name, consumer, estimated) and `plan_digest`.
"""

from collections.abc import Callable, Mapping
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
"""Pods that ended and are still known by name, for explanations."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What an allocator needs from this process, and no journal holds.

    `zones` finds a time zone by name, `policies` are the plug-ins by name, `clock` gives the
    milliseconds by which their calls are timed.
    """

    zones: Zones
    policies: Mapping[str, SharingPolicy] = field(default_factory=dict)
    clock: Callable[[], int] = lambda: 0


@dataclass(frozen=True, slots=True)
class InitialPlan:
    """What an empty journal begins with: a plan, capacities by group, the plan file's digest."""

    plan: Plan
    capacity: Mapping[str, Vector]
    digest: str


@dataclass(slots=True)
class DurableState:
    """All that the journal makes durable: the allocator, the events, and the notes beside them.

    `pods` are pods by uid, as their notes name them, the latest last; `plan_digest` is that of the
    plan file last put in force, empty if there was none.
    """

    allocator: Allocator
    history: History
    pods: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    plan_digest: str = ""

    def take_notes(self, notes: Mapping[str, Any]) -> None:
        """Take over what a record says beside its operation."""
        if "pod" in notes:
            self.pods.pop(notes["pod"]["uid"], None)
            self.pods[notes["pod"]["uid"]] = notes["pod"]
        self.plan_digest = notes.get("plan_digest", self.plan_digest)

    def exists(self, uid: str) -> bool:
        """Whether there is an allocation or a system pod of that id, holding or waiting."""
        in_system = any(uid in pool.system for pool in self.allocator.pools.values())
        return in_system or uid in self.allocator.allocations

    def snapshot(self) -> dict[str, Any]:
        """Everything, for the journal; no later change of the state reaches the document."""
        self._forget_old_pods()
        return {
            "version": VERSION,
            "ledger": self.allocator.to_document(),
            "history": self.history.saved(),
            "pods": list(self.pods.values()),
            "plan_digest": self.plan_digest,
        }

    def _forget_old_pods(self) -> None:
        """Forget pods that ended, the oldest first.

        Only with a snapshot: what is forgotten at another time comes back when its record is
        replayed.
        """
        ended = [uid for uid in self.pods if not self.exists(uid)]
        for uid in ended[: max(0, len(ended) - PODS_KEPT)]:
            del self.pods[uid]


def first_record(initial: InitialPlan, now: int) -> dict[str, Any]:
    """The record with which a journal begins."""
    groups = {name: dict(vector) for name, vector in initial.capacity.items()}
    document = {"plan": initial.plan.document, "capacity": groups, "now": now}
    return {"version": VERSION, "first": document, "notes": {"plan_digest": initial.digest}}


def operation_record(
    operation: Operation, decision: Decision, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """An operation that was decided; a replay decides the same."""
    return {
        "op": operation_document(operation),
        "now": decision.now,
        "seq": decision.seq,
        "fallbacks": list(decision.fallbacks),
        "notes": dict(notes),
    }


def rebuild(recovered: Recovered, environment: Environment) -> DurableState | None:
    """The state that the journal describes, None for an empty journal.

    Raises ValueError for a journal of another version.
    """
    state = _from_snapshot(recovered.state, environment) if recovered.snapshot else None
    for row in recovered.records:
        if state is None:
            state = from_first_record(row, environment)
        else:
            _replay(state, row)
    if state is not None:
        state.history.mark_durable(state.history.last)
    return state


def from_first_record(row: Mapping[str, Any], environment: Environment) -> DurableState:
    """The state after the first record, for a new journal and for an old one alike."""
    first = _checked(row)["first"]
    plan = parse_plan(first["plan"], environment.zones)
    allocator = Allocator(
        plan,
        first["capacity"],
        first["now"],
        zones=environment.zones,
        policies=environment.policies,
        clock=environment.clock,
    )
    state = DurableState(allocator, History())
    state.take_notes(row["notes"])
    return state


def _from_snapshot(saved: Any, environment: Environment) -> DurableState:
    document = _checked(saved)
    allocator = Allocator.from_document(
        document["ledger"],
        zones=environment.zones,
        policies=environment.policies,
        clock=environment.clock,
    )
    history = History(document["history"]["last"], document["history"]["events"])
    pods = {pod["uid"]: pod for pod in document["pods"]}
    return DurableState(allocator, history, pods, document["plan_digest"])


def _replay(state: DurableState, row: Mapping[str, Any]) -> None:
    operation = operation_from_document(row["op"])
    decision = state.allocator.apply(operation, row["now"], row["seq"], fallbacks=row["fallbacks"])
    state.history.add(event.to_document() for event in decision.events)
    state.take_notes(row["notes"])


def _checked(document: Mapping[str, Any]) -> Mapping[str, Any]:
    if document.get("version") != VERSION:
        raise ValueError(
            f"the journal is of version {document.get('version')}, this agent reads {VERSION}; "
            "run the agent that wrote it, or move the state directory away and start empty"
        )
    return document
