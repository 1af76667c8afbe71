"""G: what each consumer would hold of one resource if the demand at hand were served.

Bottom-up the demand rolls up (semantics 2.3: a reserve is a standing demand), top-down each budget
is split in three steps (semantics 2.4): claims up to the plan, what is held above it, and the rest.

Measured against D*, not against what others hold at the moment. Where a share moves with every
grant, refilling the units of one victim changes who owes the next, and two consumers can take from
each other without end; here a victim that asks again finds the same plan.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nodeagent.allocator.plan.consumer import Cut
from nodeagent.allocator.tree.deserved import Entitlement
from nodeagent.allocator.tree.division import hamilton, waterfill_all
from nodeagent.allocator.tree.tree import Tree

Divide = Callable[[int, tuple[int, ...], list[int]], list[int]]
"""How a surplus is divided: (total, sibling nodes, most each may get) -> amount each."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The rolled-up demand of one resource per node.

    `wanted` is e: what a node asks for, at least its hold, at most its cap. `present` is U: what
    it weighs now, before the demand at hand. `capped` is a leaf's demand within its cap, without
    its reserve, which is not a demand it could be granted.
    """

    wanted: list[int]
    present: list[int]
    capped: list[int]


def roll_up(
    tree: Tree, entitlement: Entitlement, usage: Sequence[int], demand: dict[int, int]
) -> Demand:
    """Roll up leaf usage, with `demand` in place of usage for the leaves it names.

    What waits is not counted: a claim must not cut anybody for others that wait.
    """
    hold, cap = entitlement.hold, entitlement.cap
    size = len(hold)
    wanted, standing, capped = [0] * size, [0] * size, [0] * size
    for node in range(size - 1, -1, -1):
        floor = hold[node]
        if tree.children[node]:
            want, stand = max(wanted[node], floor), max(standing[node], floor)
            wanted[node] = min(want, cap[node])
            standing[node] = stand
        else:
            capped[node] = min(demand.get(node, usage[node]), cap[node])
            wanted[node] = max(capped[node], floor)
            standing[node] = max(usage[node], floor)
        parent = tree.parents[node]
        if parent >= 0:
            wanted[parent] += wanted[node]
            standing[parent] += standing[node]
    return Demand(wanted, standing, capped)


def by_share(tree: Tree) -> Divide:
    """Surplus by the share ratio: the hybrid and share rule."""
    shares = tree.shares

    def divide(total: int, nodes: tuple[int, ...], caps: list[int]) -> list[int]:
        return waterfill_all(total, [shares[node] for node in nodes], caps)

    return divide


def split(
    tree: Tree, entitlement: Entitlement, demand: Demand, budget: int, divide: Divide, cut: Cut
) -> list[int]:
    """The targets per node: the budgets of inner nodes, and G of leaves."""
    targets = [0] * len(tree.parents)
    targets[0] = budget
    for node in tree.inner:
        below = tree.children[node]
        parts = _split_one(tree, node, entitlement, demand, targets[node], divide, cut)
        for child, part in zip(below, parts, strict=True):
            targets[child] = part
    for leaf in tree.leaves:
        targets[leaf] = min(targets[leaf], demand.capped[leaf])
    return targets


def reach(
    tree: Tree,
    entitlement: Entitlement,
    base: Demand,
    ask: tuple[int, int],
    budget: int,
    divide: Divide,
    cut: Cut,
) -> int:
    """G of one leaf: what `split` gives it if it alone demands other than in `base`.

    `ask` is the leaf and all it would use. Only the budgets on its path are worked out, which makes
    it cheap enough to be asked for everything that waits.
    """
    leaf, asked = ask
    path, capped = tree.paths[leaf], min(asked, entitlement.cap[leaf])
    # Siblings off the path demand what they did in `base`; only the path's own sums change.
    wanted = list(base.wanted)
    wanted[leaf] = max(capped, entitlement.hold[leaf])
    for node in path[1:]:
        below = sum(wanted[child] for child in tree.children[node])
        wanted[node] = min(max(below, entitlement.hold[node]), entitlement.cap[node])
    demand = Demand(wanted, base.present, base.capped)
    for index in range(len(path) - 1, 0, -1):
        node = path[index]
        parts = _split_one(tree, node, entitlement, demand, budget, divide, cut)
        budget = parts[tree.children[node].index(path[index - 1])]
    return min(budget, capped)


# One budget among the children of a node, with the numbers of "B2 wants 20" in the reference
# example (semantics 2.15): 20 slots, A idle, B1 holds 20; D* is A 4, B 16, B1 4, B2 12.
#
#                          at the root, budget 20         in B, budget 20
#                             A      B                      B1     B2
#   wanted e                  0     40                      20     20
#   1 claims min(e, D*)       0     16       surplus 4       4     12      surplus 4
#   2 held min(U, e) − c      0      4 kept  surplus 0      16 → 4  0      surplus 0
#   3 rest by share           0      0                       0      0
#   result                    0     20                       8     12
#
# Under `adjust` step 2 is left out. In B the surplus of 4 is then divided 1:3 among what both
# still want, which gives 5 and 15.


def _split_one(
    tree: Tree,
    node: int,
    entitlement: Entitlement,
    demand: Demand,
    budget: int,
    divide: Divide,
    cut: Cut,
) -> list[int]:
    """One budget among the children of a node: the steps of semantics 2.4."""
    below = tree.children[node]
    wanted = [demand.wanted[child] for child in below]
    # Enough for all: no rule is asked, which is the case at most nodes of most trees.
    if sum(wanted) <= budget:
        return wanted
    claims = [
        min(want, entitlement.deserved[child]) for want, child in zip(wanted, below, strict=True)
    ]
    surplus = budget - sum(claims)
    if surplus < 0:
        # A loss of capacity, or the smaller budget of reclaimFirst: claims shrink in proportion.
        return hamilton(budget, claims)
    got = claims
    if tree.sticky[node]:
        held = [
            max(0, min(demand.present[child], want) - claim)
            for child, want, claim in zip(below, wanted, claims, strict=True)
        ]
        kept = _keep(surplus, below, held, divide, cut)
        surplus -= sum(kept)
        got = [have + keep for have, keep in zip(got, kept, strict=True)]
    rest = [want - have for want, have in zip(wanted, got, strict=True)]
    return [have + more for have, more in zip(got, divide(surplus, below, rest), strict=True)]


def _keep(
    surplus: int, below: tuple[int, ...], held: list[int], divide: Divide, cut: Cut
) -> list[int]:
    """Which part of what they hold above plan siblings keep (step 2).

    Dividing what *remains* by share cuts the most over-used first; that is what the field calls
    proportional reclaiming.
    """
    if sum(held) <= surplus:
        return held
    return hamilton(surplus, held) if cut is Cut.PRORATA else divide(surplus, below, held)
