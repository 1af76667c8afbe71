"""Whether a claim is feasible at all by the usage as it is: told quickly, kept until it changes.

Most of those who wait cannot claim anything. These answers are exact, and cheap enough to be asked
for everybody who waits whenever something changes.
"""

from collections.abc import Sequence

from nodeagent.allocator.tree.targets import Demand, Divide, reach, roll_up
from nodeagent.allocator.usage.pool import FeasibilityCache, Pool
from nodeagent.allocator.usage.usage import Pairs


def _now(pool: Pool) -> FeasibilityCache:
    """What is kept of the usage as it is; empty when the usage has changed since."""
    if pool.feasibility.version != pool.booked.version:
        pool.feasibility = FeasibilityCache(pool.booked.version)
    return pool.feasibility


def demand_of(pool: Pool, resource: int) -> Demand:
    """The rolled-up demand of one resource if nobody asked for more."""
    demands = _now(pool).demands
    if resource not in demands:
        weight = pool.booked.weight[resource]
        demands[resource] = roll_up(pool.tree, pool.entitlements[resource], weight, {})
    return demands[resource]


def full_and_crowded(pool: Pool, leaf: int, pairs: Pairs) -> bool:
    """Whether a vector lacks room in something of which everybody on the path has its plan."""
    rooms = _now(pool).rooms
    for resource, amount in pairs:
        key = (leaf, resource)
        if key not in rooms:
            full = _has_plan(pool, leaf, resource)
            rooms[key] = pool.booked.room(leaf, resource) if full else None
        room = rooms[key]
        if room is not None and amount > room:
            return True
    return False


def _has_plan(pool: Pool, leaf: int, resource: int) -> bool:
    weight, hold = pool.booked.weight[resource], pool.booked.hold[resource]
    deserved = pool.entitlements[resource].deserved
    return all(
        weight[node] >= deserved[node] or hold[node] >= deserved[node]
        for node in pool.tree.paths[leaf][:-1]
    )


def given(pool: Pool, divide: Divide, leaf: int, pairs: Pairs, short: Sequence[int]) -> bool:
    """Whether the targets give a leaf a vector on top of what it uses, in what is short.

    The same as working out all targets and looking at the leaf's, by walking one path.
    """
    asked = dict(pairs)
    for resource in short:
        wanted = pool.booked.weight[resource][leaf] + asked.get(resource, 0)
        goal = reach(
            pool.tree,
            pool.entitlements[resource],
            demand_of(pool, resource),
            (leaf, wanted),
            pool.capacity[resource],
            divide,
            pool.group.cut,
        )
        if resource in asked and goal < wanted:
            return False
    return True
