"""A resource group at work: its tree in force, entitlements, usage, queue and open claims.

Two usages are kept while claims are open (semantics 2.6). `current` is the usage now: what
borrowers give back counts until it is really free, and of what claimants get only the part already
set aside. `projected` is the usage once every reclaim under way has ended: what is given back is
gone from it, what is claimed is in it.

A grant must fit in both. In `current`, because units under notice are still in use; in `projected`,
because what is free now may be on its way to a claimant. Without claims both are one object, so
that the common case is posted once; code that posts to both asks `current is projected` first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from berth.base.quantity import Vector, minus, plus
from nodeagent.allocator.plan.calendar import next_boundary, window_at
from nodeagent.allocator.plan.plan import Group
from nodeagent.allocator.tree.deserved import Entitlement, entitle
from nodeagent.allocator.tree.lending import Lending, covered, lending_of
from nodeagent.allocator.tree.targets import Demand
from nodeagent.allocator.tree.tree import Tree, grow
from nodeagent.allocator.usage.allocation import Allocation, Shape
from nodeagent.allocator.usage.claim import Claim
from nodeagent.allocator.usage.usage import Pairs, Usage


@dataclass(slots=True)
class FeasibilityCache:
    """What claims.feasibility has worked out of the projected usage; `version` says of which.

    `demands` by resource: the roll-up of what is used and nothing more. `headrooms` by leaf and
    resource; None where some consumer on the path has less than its plan.
    """

    version: int = -1
    demands: dict[int, Demand] = field(default_factory=dict)
    headrooms: dict[tuple[int, int], int | None] = field(default_factory=dict)


class Pool:
    """The state of one group.

    Durable are what the group has (`allocatable`), what is taken off it (`system` pods and
    `blocked` units, vectors by id), the open claims, and the allocations. `lay_out` makes all the
    rest from these; operations then change it step by step, to the same result (I2, I14).

    `members` are the allocations that hold something, by leaf; `waiting` those in the queue, by
    leaf, each by id. `over_cap`: some consumer is above a bound, as a new plan may have it.
    """

    # What the two usages hold while an owner claims 4 of the 10 slots that a guest runs on:
    #
    #                              current               projected
    #                           owner  guest           owner  guest
    #    before                     0     10               0     10
    #    claim and notice           0     10               4      6
    #    2 of the guest's stop      2      8               4      6    2 set aside
    #    the others stop            4      6               4      6    granted
    #
    # A third request for 1 slot in between fits in neither, though 2 slots are idle for a moment.

    __slots__ = (
        "allocatable",
        "blocked",
        "boundary",
        "capacity",
        "claims",
        "current",
        "entitlements",
        "feasibility",
        "group",
        "lending",
        "members",
        "number",
        "over_cap",
        "projected",
        "resources",
        "system",
        "tree",
        "waiting",
        "window",
    )

    group: Group
    window: int
    boundary: int | None
    tree: Tree
    resources: tuple[str, ...]
    number: dict[str, int]
    capacity: list[int]
    entitlements: list[Entitlement]
    projected: Usage
    current: Usage
    members: list[dict[str, Allocation]]
    waiting: dict[int, dict[str, Allocation]]
    lending: Lending
    feasibility: FeasibilityCache
    over_cap: bool

    def __init__(self, group: Group, allocatable: Vector) -> None:
        self.group = group
        self.allocatable = dict(allocatable)
        self.system: dict[str, Vector] = {}
        self.blocked: dict[str, Vector] = {}
        self.claims: dict[str, Claim] = {}
        self.window = 0
        self.boundary = None

    def choose_window(self, now: int, zone: tzinfo) -> None:
        """Take the window in force at `now` (milliseconds) and remember when it ends."""
        self.window = window_at(self.group.windows, now // 1000, zone)
        following = next_boundary(self.group.windows, now // 1000, zone)
        # Windows begin on whole seconds; time counts in milliseconds everywhere else.
        self.boundary = None if following is None else following * 1000

    def lay_out(self, allocations: Iterable[Allocation]) -> None:
        """Grow the tree of the window in force and enter every allocation and claim anew."""
        mine = [allocation for allocation in allocations if allocation.group == self.group.name]
        self._lay_tree(mine)
        self._lay_entitlements(mine)
        self.projected = Usage(self.tree, self.entitlements)
        self.feasibility = FeasibilityCache()
        self.members = [{} for _ in self.tree.parents]
        self.waiting = {}
        for allocation in mine:
            self._enter(allocation)
        self.current = self.projected
        if self.claims:
            self._enter_claims({allocation.id: allocation for allocation in mine})
        self.over_cap = self._any_over_cap()

    def _lay_tree(self, mine: list[Allocation]) -> None:
        consumers = self.group.windows[self.window].consumers
        tree = grow(consumers, self.group.rebalance)
        # A plan may drop a consumer, or give it children, while its pods run.
        orphans = {row.consumer for row in mine if tree.leaf(row.consumer) is None}
        if orphans:
            tree = grow(consumers, self.group.rebalance, orphans)
        self.tree = tree
        self.lending = lending_of(tree)

    def _lay_entitlements(self, mine: list[Allocation]) -> None:
        # Also what is only named or only held, with capacity 0: a plan may own GPUs on a node that
        # has lost its last one, and its pods are still to be counted.
        names = set(self.allocatable)
        for consumer in self.tree.consumers:
            names.update(consumer.own, consumer.limit, consumer.borrow_limit)
        for allocation in mine:
            names.update(allocation.target, allocation.held)
        # Sorted, because the order of a set of texts differs from process to process (I12).
        self.resources = tuple(sorted(names))
        self.number = {name: index for index, name in enumerate(self.resources)}
        usable = self.usable()
        self.capacity = [usable.get(name, 0) for name in self.resources]
        self.entitlements = [
            entitle(self.tree, name, amount, self.group.mode)
            for name, amount in zip(self.resources, self.capacity, strict=True)
        ]

    def usable(self) -> dict[str, int]:
        """The capacity for consumers: without system consumers and blocked units."""
        # Never below 0: a sick device may be blocked here and missing from the allocatable too.
        left = dict(self.allocatable)
        for taken in (*self.system.values(), *self.blocked.values()):
            left = minus(left, taken)
        return left

    def _enter(self, allocation: Allocation) -> None:
        allocation.leaf = self.tree.index[allocation.consumer]
        self.refresh(allocation)
        self.projected.post(allocation.leaf, allocation.pairs)

    def _enter_claims(self, mine: Mapping[str, Allocation]) -> None:
        # As operations do step by step: claims into both, cuts out of the projected one.
        self.current = self.projected.copy()
        for claim in self.claims.values():
            if claim.allocation:
                leaf = mine[claim.allocation].leaf
                self.projected.post(leaf, self.pairs(claim.vector))
                self.current.post(leaf, self.pairs(claim.earmark))
            for notice in claim.notices.values():
                for key, cut in notice.cuts.items():
                    self.projected.post(mine[key].leaf, self.pairs(cut), -1)

    def _any_over_cap(self) -> bool:
        usage = self.projected
        return any(
            usage.upward(resource, node) > usage.cap[resource][node]
            for resource in range(len(self.resources))
            for node in range(len(self.tree.parents))
        )

    def pairs(self, vector: Vector) -> Pairs:
        """A vector by resource index. Resources of this group only."""
        number = self.number
        return tuple((number[name], amount) for name, amount in vector.items() if amount)

    def vector(self, pairs: Pairs) -> dict[str, int]:
        """A vector by resource name."""
        return {self.resources[resource]: amount for resource, amount in pairs}

    def refresh(self, allocation: Allocation) -> None:
        """File an allocation by what it holds and waits for; due after every change of either."""
        allocation.pairs = self.pairs(allocation.held)
        members = self.members[allocation.leaf]
        if allocation.held:
            members[allocation.id] = allocation
        else:
            members.pop(allocation.id, None)
        if not allocation.claim and allocation.missing and not allocation.stopping:
            allocation.shape = self._shape(allocation)
            self.waiting.setdefault(allocation.leaf, {})[allocation.id] = allocation
        elif self.waiting:
            self.stop_waiting(allocation)

    def _shape(self, allocation: Allocation) -> Shape:
        portion, least, _ = allocation.portions()
        number = self.number
        asked = tuple(
            sorted(
                (number[name], amount * least)
                for name, amount in portion.items()
                if amount and name in number
            )
        )
        return allocation.leaf, asked, allocation.firm

    def stop_waiting(self, allocation: Allocation) -> None:
        """Take an allocation out of the queue; harmless if it is not there."""
        queue = self.waiting.get(allocation.leaf)
        # No empty queues: `if pool.waiting` is how it is told that nobody waits.
        if queue is not None and queue.pop(allocation.id, None) is not None and not queue:
            del self.waiting[allocation.leaf]

    def fits(self, leaf: int, pairs: Pairs) -> bool:
        """Whether a vector fits on a leaf now and after every reclaim under way."""
        if not self.projected.fits(leaf, pairs):
            return False
        return self.current is self.projected or self.current.fits(leaf, pairs)

    def post_if_fits(self, leaf: int, pairs: Pairs) -> bool:
        """Enter a vector in both usages if it fits in both."""
        # `current` first and only asked, so that there is nothing to undo in it.
        if self.current is not self.projected and not self.current.fits(leaf, pairs):
            return False
        if not self.projected.post_if_fits(leaf, pairs):
            return False
        if self.current is not self.projected:
            self.current.post(leaf, pairs)
        return True

    def post(self, leaf: int, pairs: Pairs, sign: int = 1) -> None:
        """Enter a vector in both usages, or take it off with sign -1."""
        self.projected.post(leaf, pairs, sign)
        if self.current is not self.projected:
            self.current.post(leaf, pairs, sign)

    def headroom(self, leaf: int, resource: int) -> int:
        """The most of one resource that a leaf could be granted now; never negative."""
        headroom = self.projected.headroom(leaf, resource)
        if self.current is self.projected:
            return headroom
        return min(headroom, self.current.headroom(leaf, resource))

    def unfunded(self, leaf: int, pairs: Pairs) -> list[int]:
        """The resources in which, with this on top, permitted loans do not cover all borrowing.

        Of the projected usage (semantics 2.9); empty where lending is not restricted.
        """
        if not self.lending.restricted:
            return []
        found = []
        for resource, amount in pairs:
            usage = list(self.projected.weight[resource])
            usage[leaf] += amount
            if not covered(self.tree, self.lending, self.entitlements[resource], usage):
                found.append(resource)
        return found

    def in_plan(self, leaf: int, pairs: Pairs) -> bool:
        """Whether a leaf stays within its D* with a vector on top of its projected usage."""
        return all(
            self.projected.weight[resource][leaf] + amount
            <= self.entitlements[resource].deserved[leaf]
            for resource, amount in pairs
        )

    def open_claim(self, claim: Claim) -> None:
        """Add a claim; from the first one on two usages are kept."""
        if not self.claims:
            self.current = self.projected.copy()
        self.claims[claim.id] = claim

    def close_claim(self, claim: Claim) -> None:
        """Drop a claim that has nothing under way; without claims one usage is enough."""
        del self.claims[claim.id]
        if not self.claims:
            self.current = self.projected

    def leaving(self, identity: str) -> dict[str, int]:
        """What of an allocation is under notice, by all claims together."""
        total: dict[str, int] = {}
        for claim in self.claims.values():
            for notice in claim.notices.values():
                if identity in notice.cuts:
                    total = plus(total, notice.cuts[identity])
        return total

    def used(self, resource: int) -> list[int]:
        """What each node's leaves hold now, per node, reserves not counted."""
        total = [0] * len(self.tree.parents)
        # From allocations: the weight of an inner node has unused reserves in it.
        for leaf in self.tree.leaves:
            for member in self.members[leaf].values():
                total[leaf] += member.held.get(self.resources[resource], 0)
        for node in range(len(total) - 1, 0, -1):
            total[self.tree.parents[node]] += total[node]
        return total
