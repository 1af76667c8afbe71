"""Whether a claim can succeed at all: told quickly from the usage as it is, kept until it changes.

Most of what waits cannot claim anything, and all of it is tried again whenever something changes.
Working out all targets (semantics 2.4) costs a pass over the tree each time; what is asked here
costs one path and is exact.
"""

from collections.abc import Sequence

from nodeagent.allocator.plan.consumer import Order
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.tree.targets import Demand, Divide, reach, roll_up
from nodeagent.allocator.usage.allocation import Allocation
from nodeagent.allocator.usage.pool import FeasibilityCache, Pool
from nodeagent.allocator.usage.usage import Pairs


def claim_ruled_out(pool: Pool, transaction: Transaction, leaf: int, pairs: Pairs) -> bool:
    """Whether no claim of a vector can succeed, told without working out the targets.

    Why: if every consumer from the leaf up to below the root has its plan already of something
    short, then the claim lies in the *held* or *rest* part of each split (semantics 2.4, steps 2
    and 3). In a sticky tree whatever the others hold is served before the rest, so nothing is left
    to take from them.
    """
    tree = pool.tree
    path = tree.paths[leaf]
    # Above a cap (after a change of plan) `wanted` is less than what is held, and the argument
    # fails; a plug-in may follow other rules altogether.
    if pool.over_cap or transaction.guard.built_in(pool) is None:
        return False
    if not all(tree.sticky[node] for node in path[1:]):
        return False
    return short_where_plan_is_met(pool, leaf, pairs)


def claim_possible(pool: Pool, transaction: Transaction, allocation: Allocation) -> bool:
    """Whether a claim of one that waits may succeed: False only if it would surely fail."""
    policy = transaction.guard.built_in(pool)
    leaf, pairs, _ = allocation.shape
    # In these cases a claim has other targets than `targets_cover` works out, or several sizes.
    if policy is None or allocation.elastic or pool.lending.restricted:
        return True
    if pool.group.order is Order.RECLAIM_FIRST or leaf in pool.tree.orphans:
        return True
    short = sorted(pool.projected.exceeded(leaf, pairs))
    return targets_cover(pool, policy.divide(pool.tree), leaf, pairs, short)


def targets_cover(
    pool: Pool, divide: Divide, leaf: int, pairs: Pairs, short: Sequence[int]
) -> bool:
    """Whether the targets give a leaf a vector on top of what it uses, in what is short.

    The same as working out all targets and looking at the leaf's, by walking one path.
    """
    asked = dict(pairs)
    for resource in short:
        wanted = pool.projected.weight[resource][leaf] + asked.get(resource, 0)
        goal = reach(
            pool.tree,
            pool.entitlements[resource],
            _demand(pool, resource),
            (leaf, wanted),
            pool.capacity[resource],
            divide,
            pool.group.cut,
        )
        if resource in asked and goal < wanted:
            return False
    return True


def short_where_plan_is_met(pool: Pool, leaf: int, pairs: Pairs) -> bool:
    """Whether a vector exceeds the headroom of something of which the whole path has its plan."""
    headrooms = _cache(pool).headrooms
    for resource, amount in pairs:
        key = (leaf, resource)
        if key not in headrooms:
            met = _plan_is_met(pool, leaf, resource)
            headrooms[key] = pool.projected.headroom(leaf, resource) if met else None
        headroom = headrooms[key]
        if headroom is not None and amount > headroom:
            return True
    return False


def _plan_is_met(pool: Pool, leaf: int, resource: int) -> bool:
    weight, hold = pool.projected.weight[resource], pool.projected.hold[resource]
    deserved = pool.entitlements[resource].deserved
    return all(
        weight[node] >= deserved[node] or hold[node] >= deserved[node]
        for node in pool.tree.paths[leaf][:-1]
    )


def _demand(pool: Pool, resource: int) -> Demand:
    """The rolled-up demand of one resource if nobody asked for more."""
    demands = _cache(pool).demands
    if resource not in demands:
        weight = pool.projected.weight[resource]
        demands[resource] = roll_up(pool.tree, pool.entitlements[resource], weight, {})
    return demands[resource]


def _cache(pool: Pool) -> FeasibilityCache:
    """What is kept about the projected usage; empty when that has changed since.

    Every write to a Usage raises its version, so nothing has to remember to invalidate.
    """
    if pool.feasibility.version != pool.projected.version:
        pool.feasibility = FeasibilityCache(pool.projected.version)
    return pool.feasibility
