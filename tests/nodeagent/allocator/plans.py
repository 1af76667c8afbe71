"""Plans and allocators for tests, written short."""

from typing import Any
from zoneinfo import ZoneInfo

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.values.event import Decision, Event, EventType
from nodeagent.allocator.values.operation import Operation, Release, Request

REFERENCE: list[dict[str, Any]] = [
    {"name": "A"},
    {"name": "B", "share": 4, "consumers": [{"name": "B1"}, {"name": "B2", "share": 3}]},
]
"""The reference example: A and B as 1:4, B1 and B2 as 1:3."""


def spec(consumers: list[dict[str, Any]], **group: Any) -> dict[str, Any]:
    """A plan's spec of one group with one window."""
    window = {"when": "always", "consumers": consumers}
    return {"groups": [{"name": "default", "windows": [window], **group}]}


def document(consumers: list[dict[str, Any]], **group: Any) -> dict[str, Any]:
    """A whole plan document of one group with one window."""
    return {
        "apiVersion": "berth.dev/v1alpha1",
        "kind": "ConsumerPlan",
        "metadata": {"name": "default"},
        "spec": spec(consumers, **group),
    }


class Bench:
    """An allocator with its clock and numbers, for tests that talk to it step by step."""

    def __init__(
        self,
        consumers: list[dict[str, Any]],
        capacity: dict[str, int],
        *,
        allocator: dict[str, Any] | None = None,
        **group: Any,
    ) -> None:
        plan = parse_spec(spec(consumers, **group), ZoneInfo)
        self.allocator = Allocator(
            plan, {"default": capacity}, 0, zones=ZoneInfo, **(allocator or {})
        )
        self.now = 0
        self.seq = 0
        self.decision: Decision | None = None

    def do(self, operation: Operation, *, at: int | None = None) -> Decision:
        """Apply an operation, at a time in seconds if one is given."""
        self.now = self.now if at is None else at * 1000
        self.seq += 1
        self.decision = self.allocator.apply(operation, self.now, self.seq)
        return self.decision

    def ask(self, identity: str, consumer: str, amount: int = 1, **more: Any) -> str:
        """Request slots; returns what the verdict is called."""
        operation = Request(identity, consumer, {"slots": amount}, **more)
        return self.do(operation).verdict.answer.value

    def ask_units(self, prefix: str, consumer: str, count: int, *, obey: bool = True) -> None:
        """Request single slots one after the other; what is forced stops at once if `obey`."""
        for number in range(count):
            self.ask(f"{prefix}{number}", consumer)
            if obey:
                self.obey()

    def obey(self) -> None:
        """Stop what the last decision forced, and what follows from that, as a node does."""
        queue = list(self.events(EventType.FORCED))
        while queue:
            for row in queue.pop(0).fields["strict"]:
                self.do(Release(row["id"], row["vector"], autoadjust=False))
                queue += self.events(EventType.FORCED)

    def events(self, kind: EventType) -> list[Event]:
        """The events of one kind of the last decision."""
        assert self.decision is not None
        return [event for event in self.decision.events if event.type is kind]

    def held(self) -> dict[str, int]:
        """The slots of every leaf that holds any."""
        found: dict[str, int] = {}
        for row in self.allocator.allocations.values():
            if row.held:
                found[row.consumer] = found.get(row.consumer, 0) + row.held.get("slots", 0)
        return found

    def state(self, identity: str) -> str:
        """The state of an allocation by name; empty if it has ended."""
        row = self.allocator.allocations.get(identity)
        return row.state.value if row is not None else ""
