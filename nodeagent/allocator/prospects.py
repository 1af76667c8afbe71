"""What one state of the books says about claims: told quickly, kept until the books change.

Most of those who wait cannot claim anything. These answers are exact, and cheap enough to be asked
for everybody who waits whenever something changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nodeagent.allocator.books import Pairs
from nodeagent.allocator.targets import Demand, Divide, reach, roll_up

if TYPE_CHECKING:
    from nodeagent.allocator.pool import Pool


@dataclass(slots=True)
class Prospects:
    """`version` is that of the books. `demands` by resource: of what is used and nothing more.

    `rooms` by leaf and resource: the room, None where somebody on the path lacks some of its plan.
    """

    version: int = -1
    demands: dict[int, Demand] = field(default_factory=dict)
    rooms: dict[tuple[int, int], int | None] = field(default_factory=dict)


def _now(pool: "Pool") -> Prospects:
    """The prospects by the books as they are."""
    if pool.prospects.version != pool.booked.version:
        pool.prospects = Prospects(pool.booked.version)
    return pool.prospects


def demand_of(pool: "Pool", resource: int) -> Demand:
    """The rolled-up demand of one resource if nobody asked for more."""
    demands = _now(pool).demands
    if resource not in demands:
        weight = pool.booked.weight[resource]
        demands[resource] = roll_up(pool.tree, pool.entitlements[resource], weight, {})
    return demands[resource]


def full_and_crowded(pool: "Pool", leaf: int, pairs: Pairs) -> bool:
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


def _has_plan(pool: "Pool", leaf: int, resource: int) -> bool:
    weight, hold = pool.booked.weight[resource], pool.booked.hold[resource]
    deserved = pool.entitlements[resource].deserved
    return all(
        weight[node] >= deserved[node] or hold[node] >= deserved[node]
        for node in pool.tree.paths[leaf][:-1]
    )


def given(pool: "Pool", divide: Divide, leaf: int, pairs: Pairs, short: Sequence[int]) -> bool:
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
