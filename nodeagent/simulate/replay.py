"""Replays a scenario on an allocator in virtual time: what each consumer holds, step by step.

The virtual node is obedient: what a forced reclaim names has stopped at once, and its demand waits
again, as a controller would have it.
"""

from typing import Any

from berth.base.duration import render_duration
from berth.base.quantity import Unit, Vector, render_quantity, unit_of
from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan_reading import Zones
from nodeagent.allocator.status import deserved, held, pending
from nodeagent.allocator.values.event import Event, EventType
from nodeagent.allocator.values.operation import (
    ApplyPlan,
    Cancel,
    Modify,
    Operation,
    Release,
    Request,
    SetCapacity,
    Tick,
)
from nodeagent.simulate.scenario import Load, Scenario, read_scenario, read_scenario_plan
from nodeagent.simulate.scenario_events import ScenarioEvent, ScenarioRequest

_MOST_STEPS = 200_000
"""Steps of one run: windows begin for ever, and an event may lie years ahead."""


def simulate(document: object, zones: Zones, load: Load | None = None) -> dict[str, Any]:
    """The steps of a scenario document and the expectations that failed, as JSON-able data.

    Raises DocumentRefused for a bad document.
    """
    scenario = (
        read_scenario(document, zones) if load is None else read_scenario(document, zones, load)
    )
    return Replay(scenario, zones, load).run()


class Replay:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, zones: Zones, load: Load | None) -> None:
        self.scenario = scenario
        self.load = load
        self.zones = zones
        self.allocator = Allocator(scenario.plan, scenario.capacity, scenario.start, zones=zones)
        self.parts: dict[str, list[str]] = {}
        self.steps: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []
        self.events: list[Event] = []
        self.expected: list[ScenarioEvent] = []
        self.seq = 0

    def run(self) -> dict[str, Any]:
        """Every time of the scenario in order, and whatever falls due between and after."""
        at: int | None = None
        for entry in self.scenario.events:
            if entry.at != at:
                self._close(at)
                self._pass_until(entry.at)
                at = entry.at
            self._act(entry)
        self._close(at)
        self._run_out()
        return {"steps": self.steps, "failed_expectations": self.failed}

    def _pass_until(self, at: int) -> None:
        """Let what falls due before a time happen, each at its own time."""
        while True:
            due = self.allocator.next_due()
            if due is None or due >= self.scenario.start + at or len(self.steps) > _MOST_STEPS:
                break
            self._apply(Tick(), due)
            self._close(due - self.scenario.start)

    def _run_out(self) -> None:
        """Let reclaims that are under way at the end come to theirs."""
        while any(pool.claims for pool in self.allocator.pools.values()):
            due = self.allocator.next_due()
            if due is None:
                break
            self._apply(Tick(), due)
            self._close(due - self.scenario.start)

    def _act(self, entry: ScenarioEvent) -> None:
        now = self.scenario.start + entry.at
        match entry.action:
            case "request":
                self._request(entry.value, now)
            case "modify":
                asked: ScenarioRequest = entry.value
                for name in self.parts.get(asked.id, []):
                    if name in self.allocator.allocations:
                        self._apply(Modify(name, vector=asked.vector), now)
            case "cancel":
                self._cancel(entry.value, now)
            case "release":
                self._end(self.parts.pop(entry.value, []), now)
            case "capacity":
                for group, vector in entry.value.items():
                    self._apply(SetCapacity(vector, group), now)
            case "plan":
                self._plan(entry, now)
            case _:
                self._apply(Tick(), now)
                self._expect(entry)

    def _request(self, asked: ScenarioRequest, now: int) -> None:
        # Parts have ids of their own: each is an allocation, and may be reclaimed alone.
        single = asked.count == 1
        names = [
            asked.id if single else f"{asked.id}/{number + 1}" for number in range(asked.count)
        ]
        self.parts.setdefault(asked.id, []).extend(names)
        for name in names:
            operation = Request(
                name,
                asked.consumer,
                asked.vector,
                asked.group,
                asked.minimum,
                asked.maximum,
                asked.priority,
                asked.namespace,
                asked.firm,
            )
            self._apply(operation, now)

    def _cancel(self, identity: str, now: int) -> None:
        """Cancel a request: first what waits of it, so that it does not take what is released."""
        for name in reversed(self.parts.get(identity, [])):
            if name in self.allocator.allocations:
                self._apply(Cancel(name), now)
        self._end(self.parts.pop(identity, []), now)

    def _end(self, names: list[str], now: int) -> None:
        for name in names:
            if name in self.allocator.allocations:
                self._apply(Release(name), now)

    def _plan(self, entry: ScenarioEvent, now: int) -> None:
        load = self.load or (lambda name: None)
        plan = read_scenario_plan(entry.value, self.zones, load)
        self._apply(ApplyPlan(plan.document), now)

    def _apply(self, operation: Operation, now: int) -> None:
        """Apply an operation, and stop at once what it forces, as the obedient node does."""
        # In the order in which they were forced: a release may force more.
        queue: list[Operation] = [operation]
        while queue:
            self.seq += 1
            events = self.allocator.apply(queue.pop(0), now, self.seq).events
            self.events += events
            for event in events:
                if event.type is EventType.FORCED:
                    queue += [
                        Release(row["id"], row["vector"], autoadjust=False)
                        for row in event.fields["strict"]
                    ]

    def _expect(self, entry: ScenarioEvent) -> None:
        self.expected.append(entry)

    def _close(self, at: int | None) -> None:
        """Write down the step that ends at a time, and check what was expected of it."""
        if at is None:
            return
        holding = held(self.allocator)
        for entry in self.expected:
            for consumer, vector in entry.value.items():
                self._compare(at, entry, consumer, vector, holding.get(consumer, {}))
        self.expected = []
        self.steps.append(
            {
                "at": render_duration(at),
                "held": _shown(holding),
                "pending": _shown(pending(self.allocator)),
                "deserved": _shown(deserved(self.allocator)),
                "events": [self._told(event) for event in self.events],
            }
        )
        self.events = []

    def _compare(
        self, at: int, entry: ScenarioEvent, consumer: str, vector: Vector, holding: Vector
    ) -> None:
        for resource, amount in vector.items():
            found = holding.get(resource, 0)
            if found != amount:
                self.failed.append(
                    {
                        "at": render_duration(at),
                        "path": entry.path,
                        "consumer": consumer,
                        "resource": resource,
                        "expected": _amount(resource, amount),
                        "held": _amount(resource, found),
                    }
                )

    def _told(self, event: Event) -> dict[str, Any]:
        row: dict[str, Any] = {"type": event.type.value, **event.fields}
        for key in ("deadline", "until"):
            if row.get(key) is not None:
                row[key] = render_duration(row[key] - self.scenario.start)
        return row


def _shown(rows: dict[str, dict[str, int]]) -> dict[str, dict[str, Any]]:
    return {
        consumer: {resource: _amount(resource, amount) for resource, amount in vector.items()}
        for consumer, vector in rows.items()
    }


def _amount(resource: str, amount: int) -> int | str:
    """An amount to show: counts as numbers, cpu and memory as Kubernetes quantities."""
    return amount if unit_of(resource) is Unit.COUNT else render_quantity(resource, amount)
