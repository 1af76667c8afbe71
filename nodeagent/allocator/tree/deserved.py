"""D*, what the plan gives each consumer of one resource, and the bounds that follow from it.

The rules are semantics 2.2 (D*) and 2.3 (hold and cap). All depend on plan and capacity alone,
never on usage: a static yardstick is what keeps reclaims from chasing each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nodeagent.allocator.plan.consumer import Mode
from nodeagent.allocator.tree.division import hamilton, waterfill
from nodeagent.allocator.tree.tree import UNLIMITED, Tree


@dataclass(frozen=True, slots=True)
class Entitlement:
    """Per node of a tree, for one resource, in base units.

    `deserved` is D*. `hold` is the part of it that is never lent. `cap` is the most a consumer
    may use: its limit, and D* plus its borrow limit; the root's is the capacity. `unbalanced`
    are the nodes whose children own more than D* gives the node. `private_pools` has, by
    inner node, the part of its D* that no child was given, where there is one.
    """

    deserved: list[int]
    hold: list[int]
    cap: list[int]
    unbalanced: tuple[int, ...]
    private_pools: Mapping[int, int]


def entitle(tree: Tree, resource: str, capacity: int, mode: Mode) -> Entitlement:
    """D* and its bounds, top-down.

    In `share` mode nobody owns or reserves; in `ownership` mode what nobody owns stays with the
    parent, for its descendants to borrow.
    """
    deserved = [0] * len(tree.parents)
    deserved[0] = capacity
    unbalanced = []
    for node in tree.inner:
        below = tree.children[node]
        own = [_own(tree, child, resource, mode) for child in below]
        if sum(own) > deserved[node]:
            unbalanced.append(node)
        parts = _split(tree, below, own, resource, deserved[node], mode)
        for child, part in zip(below, parts, strict=True):
            deserved[child] = part
    hold, cap = _bounds(tree, resource, deserved, mode)
    # The root has no limit of its own: its bound is the capacity, whatever `_bounds` says of it.
    cap[0] = capacity
    # Never negative: parts are base plus a division of the pool, both within the total.
    rest = {
        node: deserved[node] - sum(deserved[child] for child in tree.children[node])
        for node in tree.inner
    }
    private_pools = {node: amount for node, amount in rest.items() if amount > 0}
    return Entitlement(deserved, hold, cap, tuple(unbalanced), private_pools)


def _own(tree: Tree, node: int, resource: str, mode: Mode) -> int:
    return 0 if mode is Mode.SHARE else tree.consumers[node].own.get(resource, 0)


def _split(
    tree: Tree, below: tuple[int, ...], own: list[int], resource: str, total: int, mode: Mode
) -> list[int]:
    # Capacity may be below what the plan says is owned; then everybody loses in proportion.
    base = hamilton(total, own)
    pool = total - sum(base)
    if pool <= 0 or mode is Mode.OWNERSHIP:
        return base
    # 20 for A (own 8, share 1, limit 9) and B (own 4, share 3): the pool is 8, by share 2 and 6;
    # A may take 1 of its 2, so B takes 7. D* is 9 and 11.
    limits = [tree.consumers[child].limit.get(resource, UNLIMITED) for child in below]
    headroom = [max(0, limit - part) for limit, part in zip(limits, base, strict=True)]
    extra = waterfill(pool, [tree.shares[child] for child in below], headroom)
    return [part + more for part, more in zip(base, extra, strict=True)]


def _bounds(
    tree: Tree, resource: str, deserved: list[int], mode: Mode
) -> tuple[list[int], list[int]]:
    hold, cap = [], []
    for node, consumer in enumerate(tree.consumers):
        reserve = 0 if mode is Mode.SHARE else consumer.reserve.get(resource, 0)
        # A reserve is never larger than D*: after a loss of capacity there is no more to keep.
        hold.append(min(reserve, deserved[node]))
        above = consumer.borrow_limit.get(resource, UNLIMITED)
        cap.append(min(consumer.limit.get(resource, UNLIMITED), deserved[node] + above))
    return hold, cap
