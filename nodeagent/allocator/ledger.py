"""The ledger: the whole state of the node's allocation, changed by one operation at a time.

Deterministic: the same plan, capacity and log of (operation, now, seq) give byte-identical
decisions. Time and numbers are arguments, times are integer milliseconds, amounts base units.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from berth.base.quantity import Vector, ordered
from nodeagent.allocator.allocation import Allocation, allocation_from_document
from nodeagent.allocator.claim import claim_from_document
from nodeagent.allocator.event import Decision, EventType
from nodeagent.allocator.operation import Operation, OperationRefused
from nodeagent.allocator.passing import next_due, pass_time
from nodeagent.allocator.performing import check, perform
from nodeagent.allocator.plan import Plan
from nodeagent.allocator.plan_reading import Zones, parse_plan
from nodeagent.allocator.policy import SharingPolicy
from nodeagent.allocator.policy_guard import PolicyGuard
from nodeagent.allocator.pool import Pool
from nodeagent.allocator.turn import Turn

VERSION = 1
"""Of the document that `to_document` makes."""


def _still() -> int:
    return 0


class Ledger:
    """Groups at work, allocations by id, and the plan in force.

    `zones` finds time zones by name. `policies` are the plug-ins by name; `clock` (milliseconds,
    only growing) times them and decides nothing else.
    """

    def __init__(
        self,
        plan: Plan,
        capacity: Mapping[str, Vector],
        now: int,
        *,
        zones: Zones,
        policies: Mapping[str, SharingPolicy] | None = None,
        clock: Callable[[], int] = _still,
    ) -> None:
        self.plan = plan
        self.zones = zones
        self.now = now
        self.seq = -1
        self.allocations: dict[str, Allocation] = {}
        self.expiring: dict[str, Allocation] = {}
        self.policies = dict(policies or {})
        self.clock = clock
        self._guard = PolicyGuard(self.policies, clock)
        self.pools = {
            group.name: Pool(group, capacity.get(group.name, {})) for group in plan.groups
        }
        for pool in self.pools.values():
            pool.choose_window(now, plan.zone)
            pool.lay_out(())

    def apply(
        self,
        operation: Operation,
        now: int,
        seq: int,
        *,
        fallbacks: Iterable[int] | None = None,
    ) -> Decision:
        """Let time pass up to `now`, perform one operation and bring everything to rest.

        `seq` grows with every operation of the log. A `now` before the last one counts as the
        last one. `fallbacks` None asks policy plug-ins live; a replay passes those of the recorded
        decision. Raises OperationRefused or DocumentRefused, and then nothing has changed.
        """
        if seq <= self.seq:
            raise OperationRefused("seq", f"{seq} was given before", f"more than {self.seq}")
        prepared = check(self, operation)
        replayed = None if fallbacks is None else frozenset(fallbacks)
        guard = self._guard
        guard.begin(replayed)
        now = max(now, self.now)
        turn = Turn(self.now, seq, self.allocations, guard, self.expiring)
        pass_time(self, turn, now)
        turn.now = self.now = now
        verdict = perform(self, turn, operation, prepared)
        self.seq = seq
        for fallback in guard.fallbacks:
            turn.emit(
                EventType.POLICY_FALLBACK,
                group=fallback.group,
                policy=fallback.policy,
                call=fallback.call,
                reason=fallback.reason,
            )
        return Decision(seq, now, verdict, tuple(turn.events), tuple(guard.failed))

    def next_due(self) -> int | None:
        """When something happens by itself next, in milliseconds: a Tick is due then."""
        return next_due(self)

    def to_document(self) -> dict[str, Any]:
        """The state as JSON-able data in canonical order, for a snapshot."""
        return {
            "version": VERSION,
            "now": self.now,
            "seq": self.seq,
            "plan": self.plan.document,
            "groups": [_pool_document(pool) for pool in self.pools.values()],
            "allocations": [
                allocation.to_document() for _, allocation in sorted(self.allocations.items())
            ],
        }

    @classmethod
    def from_document(
        cls,
        document: Mapping[str, Any],
        *,
        zones: Zones,
        policies: Mapping[str, SharingPolicy] | None = None,
        clock: Callable[[], int] = _still,
    ) -> "Ledger":
        """The ledger that `to_document` described; its later decisions are the same.

        Raises ValueError for a document of another version.
        """
        if document.get("version") != VERSION:
            raise ValueError(f"ledger document: version is not {VERSION}; start from the journal")
        plan = parse_plan(document["plan"], zones)
        ledger = cls(plan, {}, document["now"], zones=zones, policies=policies, clock=clock)
        ledger.seq = document["seq"]
        rows = [allocation_from_document(row) for row in document["allocations"]]
        ledger.allocations.update((row.id, row) for row in rows)
        ledger.expiring.update((row.id, row) for row in rows if row.expires is not None)
        for row in document["groups"]:
            _restore(ledger.pools[row["name"]], row, ledger.allocations)
        return ledger


def _pool_document(pool: Pool) -> dict[str, Any]:
    return {
        "name": pool.group.name,
        "allocatable": ordered(pool.allocatable),
        "system": {key: ordered(pool.system[key]) for key in sorted(pool.system)},
        "blocked": {key: ordered(pool.blocked[key]) for key in sorted(pool.blocked)},
        "claims": [claim.to_document() for claim in pool.claims.values()],
    }


def _restore(pool: Pool, row: Mapping[str, Any], allocations: Mapping[str, Allocation]) -> None:
    pool.allocatable = dict(row["allocatable"])
    pool.system = {key: dict(vector) for key, vector in row["system"].items()}
    pool.blocked = {key: dict(vector) for key, vector in row["blocked"].items()}
    claims = [claim_from_document(claim) for claim in row["claims"]]
    pool.claims = {claim.id: claim for claim in claims}
    pool.lay_out(allocations.values())
