"""The sharing policies that are built in, as switches (semantics 2.5).

They differ in three places and in nothing else: how a surplus is divided, what
waits first in line, and what is given back first. So they are rows of a table, not classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

from berth.base.quantity import times
from nodeagent.allocator.policy.victims import Candidate, Targets
from nodeagent.allocator.tree.division import by_tier
from nodeagent.allocator.tree.targets import Divide, by_share
from nodeagent.allocator.tree.tree import Tree
from nodeagent.allocator.usage.allocation import Allocation, Shape
from nodeagent.allocator.usage.pool import Pool

Key = tuple[int, ...]
Measure = Callable[[Pool, int, int], int]
"""(pool, resource, node) -> what counts of the node's usage."""


def above_plan(pool: Pool, resource: int, node: int) -> int:
    """What a consumer weighs above its plan."""
    return max(
        0, pool.projected.upward(resource, node) - pool.entitlements[resource].deserved[node]
    )


def all_of_it(pool: Pool, resource: int, node: int) -> int:
    """All that a consumer weighs: the measure of dominant resource fairness."""
    return pool.projected.upward(resource, node)


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A built-in policy as switches.

    `ranked`: rank goes before share wherever something is divided, served or taken back.
    `measure`: what counts as a consumer's part. `arrival`: first come, first served instead.
    """

    name: str
    ranked: bool = False
    measure: Measure = above_plan
    arrival: bool = False

    def divide(self, tree: Tree) -> Divide:
        """How a surplus is divided among siblings."""
        return _by_rank(tree) if self.ranked else by_share(tree)

    # Keys of the queue, with D* of 6 for A and 4 for B (B1 and B2 2 each); A holds 8, B1 3, B2 0:
    #
    #             at A, B             in B              key (above plan ÷ share·C, rank, node)
    #    A        2 above plan        –                 (2 …)
    #    B1       0                   1 above plan      (0 …, 1 …)
    #    B2       0                   0                 (0 …, 0 …)      first, then B1, then A
    #
    # B2 comes before B1 only because both are in B; against A their branch decides.

    def order_waiting(self, pool: Pool, waiting: list[Allocation]) -> list[Allocation]:
        """Those waiting: in plan first, then by the lowest part at each level from the root down,
        rank and tree order, then by age (the queue order of semantics 2.6).

        Level by level, as budgets are split: the first difference decides between two branches,
        however the leaves inside them compare.
        """
        if self.arrival:
            return sorted(waiting, key=lambda one: (one.seq, one.id))
        scale = _Scale(pool, range(len(pool.resources)))
        levels: dict[int, Key] = {0: ()}
        first: dict[Shape, tuple[bool, Key]] = {}
        for one in waiting:
            if one.shape not in first:
                leaf, asked, _ = one.shape
                key = self._levels(pool, leaf, scale, levels)
                first[one.shape] = (not pool.in_plan(leaf, asked), key)
        return sorted(waiting, key=lambda one: (first[one.shape], one.seq, one.id))

    def _levels(self, pool: Pool, node: int, scale: "_Scale", known: dict[int, Key]) -> Key:
        """The sort key of a node, from the root down; `known` are those worked out before."""
        # Worked out once for each node: siblings share all but the last part of their keys.
        key = known.get(node)
        if key is None:
            above = self._levels(pool, pool.tree.parents[node], scale, known)
            part = max(
                (scale.of(self.measure(pool, each, node), node, each) for each in scale.resources),
                default=0,
            )
            rank = pool.tree.ranks[node]
            own = (rank, part, node) if self.ranked else (part, rank, node)
            key = known[node] = (*above, *own)
        return key

    def order_victims(
        self, pool: Pool, targets: Targets, holdings: list[Candidate]
    ) -> list[Candidate]:
        """The order in which borrowers give back (semantics 2.7).

        Most over target first, then lowest rank, lowest priority, newest. The id comes last, so
        that the order is total (I12).
        """
        if self.arrival:
            return sorted(holdings, key=lambda one: (-one.allocation.seq, one.allocation.id))
        scale = _Scale(pool, targets)
        leaves = {one.allocation.leaf: 0 for one in holdings}
        keys = {leaf: self._excess(pool, leaf, targets, scale) for leaf in leaves}
        return sorted(
            holdings,
            key=lambda one: (
                keys[one.allocation.leaf],
                one.allocation.priority,
                -one.allocation.seq,
                one.allocation.id,
            ),
        )

    def _excess(self, pool: Pool, leaf: int, targets: Targets, scale: "_Scale") -> Key:
        weight = pool.projected.weight
        excess = max(
            scale.of(self._counted(pool, weight[each][leaf], each, goal[leaf]), leaf, each)
            for each, goal in targets.items()
        )
        rank = pool.tree.ranks[leaf]
        return (-rank, -excess) if self.ranked else (-excess, -rank)

    def _counted(self, pool: Pool, used: int, resource: int, goal: int) -> int:
        return used if self.measure is all_of_it else max(0, used - goal)


class _Scale:
    """Turns amounts into whole numbers that compare as amount / (share · capacity) do.

    Multiplied out by the least common multiples: between quotients kept as floats, rounding would
    decide which of two consumers gives back.
    """

    __slots__ = ("_capacity", "_shares", "_unit", "resources")

    def __init__(self, pool: Pool, resources: "range | Targets") -> None:
        self.resources = [each for each in resources if pool.capacity[each]]
        self._shares = pool.tree.shares
        # Two consumers of shares 2 and 3 on 10 GPUs and 64 cores: a part of 1 GPU is 1/(2·10) and
        # 1/(3·10). With lcm(2, 3) = 6 and lcm(10, 64) = 320 they are 1·32·3 = 96 and 1·32·2 = 64.
        unit = lcm(*(share for share in set(self._shares) if share))
        whole = lcm(*(pool.capacity[each] for each in self.resources))
        self._unit = unit
        self._capacity = {each: whole // pool.capacity[each] for each in self.resources}

    def of(self, amount: int, node: int, resource: int) -> int:
        """The scaled amount. Share 0 deserves no part, so with it any amount exceeds all others."""
        scaled = amount * self._capacity.get(resource, 1)
        share = self._shares[node]
        return scaled * (self._unit // share) if share else scaled * (self._unit << 128)


def in_plan(pool: Pool, allocation: Allocation) -> bool:
    """Whether the least an allocation asks for lies within its leaf's plan."""
    portion, least, _ = allocation.portions()
    return pool.in_plan(allocation.leaf, pool.pairs(times(portion, least)))


def _by_rank(tree: Tree) -> Divide:
    def divide(total: int, nodes: tuple[int, ...], caps: list[int]) -> list[int]:
        tiers = [tree.ranks[node] for node in nodes]
        return by_tier(total, tiers, [tree.shares[node] for node in nodes], caps)

    return divide


HYBRID = BuiltIn("hybrid")
BUILT_IN = {
    policy.name: policy
    for policy in (
        HYBRID,
        BuiltIn("share"),
        BuiltIn("ownership", ranked=True),
        BuiltIn("tiers", ranked=True),
        BuiltIn("drf", measure=all_of_it),
        BuiltIn("fifo", arrival=True),
    )
}
"""By the name that a group's `policy` gives; without one the group's mode names it."""
