"""The state of the node's allocation: groups at work, allocations by id, the plan in force."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from berth.base.quantity import Vector, ordered
from nodeagent.allocator.plan.plan import Plan
from nodeagent.allocator.plan.plan_reading import Zones, parse_plan
from nodeagent.allocator.policy.frame import SharingPolicy
from nodeagent.allocator.policy.guard import PolicyGuard
from nodeagent.allocator.usage.allocation import Allocation, allocation_from_document
from nodeagent.allocator.usage.claim import claim_from_document
from nodeagent.allocator.usage.pool import Pool

VERSION = 1
"""Of the document that `to_document` makes; another one cannot be read."""


def _still() -> int:
    """A clock that stands still: nothing is ever late."""
    return 0


class NodeState:
    """Groups at work by name, allocations by id, and the plan in force.

    `zones` finds time zones by name. `policies` are the plug-ins by name; `clock` (milliseconds,
    monotonic) times them and decides nothing else. `now` is the time of the last operation and
    `seq` its number. `expiring` are the allocations given up at a time unless their client asks.
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
        self.guard = PolicyGuard(self.policies, clock)
        self.pools = {
            group.name: Pool(group, capacity.get(group.name, {})) for group in plan.groups
        }
        for pool in self.pools.values():
            pool.choose_window(now, plan.zone)
            pool.lay_out(())

    def to_document(self) -> dict[str, Any]:
        """The state as JSON-able data in canonical order, for a snapshot.

        Only what cannot be worked out again: trees, entitlements, usages and queues are not saved,
        so that an agent with other rules reads an old state and decides by its own.
        """
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
    ) -> Self:
        """The state that `to_document` described; it decides as that one would have (I14).

        Raises ValueError for a document of another version.
        """
        if document.get("version") != VERSION:
            raise ValueError(f"state document: version is not {VERSION}; start from the journal")
        plan = parse_plan(document["plan"], zones)
        state = cls(plan, {}, document["now"], zones=zones, policies=policies, clock=clock)
        state.seq = document["seq"]
        rows = [allocation_from_document(row) for row in document["allocations"]]
        # In the order of the document, which is by id. Nothing may depend on the order in which
        # allocations were made: it is not saved.
        state.allocations.update((row.id, row) for row in rows)
        state.expiring.update((row.id, row) for row in rows if row.expires is not None)
        for row in document["groups"]:
            _restore(state.pools[row["name"]], row, state.allocations)
        return state


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
    # Claims keep their order, which decides who gets freed units first. Laid out last: that enters
    # them too.
    pool.claims = {claim.id: claim for claim in claims}
    pool.lay_out(allocations.values())
