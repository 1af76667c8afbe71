"""Random plans and runs from a seed: the same seed gives the same tree and the same operations."""

from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.values.operation import (
    Cancel,
    Modify,
    Operation,
    Release,
    Request,
    SetCapacity,
    Stopping,
    Tick,
)

RESOURCES = ("cpu-like", "gpu-like")


def group_document(random: Random, capacity: dict[str, int], **settings: Any) -> dict[str, Any]:
    """A valid group whose top consumers own no more than the capacity."""
    mode = settings.pop("mode", random.choice(["hybrid", "hybrid", "share", "ownership"]))
    names = iter(f"c{number}" for number in range(1000))
    restricted = settings.pop("restricted", random.random() < 0.2)
    budget = dict(capacity)
    consumers = _level(random, names, budget, 1, settings.pop("depth", 3), mode)
    leaf_rows = [row for row in _walk(consumers) if "consumers" not in row]
    if mode == "ownership" and not restricted:
        _open_circles(consumers)
    if restricted:
        _restrict(random, leaf_rows)
    return {
        "name": "default",
        "mode": mode,
        "rebalance": random.choice(["sticky", "adjust"]),
        "cut": random.choice(["waterfill", "waterfill", "prorata"]),
        "windows": [{"when": "always", "consumers": consumers}],
        **settings,
    }


def _walk(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        found += [row, *_walk(row.get("consumers", []))]
    return found


def _open_circles(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["lendTo"] = row["borrowFrom"] = "any"


def _restrict(random: Random, leaf_rows: list[dict[str, Any]]) -> None:
    names = [row["name"] for row in leaf_rows]
    for row in leaf_rows:
        others = [name for name in names if name != row["name"]]
        for key in ("lendTo", "borrowFrom"):
            kind = random.randrange(4)
            if kind == 0:
                row[key] = "none"
            elif kind == 1 and others:
                row[key] = random.sample(others, random.randint(1, len(others)))
            else:
                row[key] = "any"
        if random.random() < 0.3:
            row["lendoutGrace"] = f"{random.choice([0, 5, 30])}s"


def _level(
    random: Random, names: Any, budget: dict[str, int], depth: int, deepest: int, mode: str
) -> list[dict[str, Any]]:
    rows = []
    left = dict(budget)
    for _ in range(random.randint(1, 4)):
        row: dict[str, Any] = {"name": next(names), "share": random.choice([0, 1, 1, 2, 3, 5])}
        own = {name: random.randint(0, amount) for name, amount in left.items()}
        if random.random() < 0.3:
            own = {}
        row["own"] = own
        left = {name: amount - own.get(name, 0) for name, amount in left.items()}
        _bounds(random, row, own)
        if depth < deepest and random.random() < 0.45:
            row["consumers"] = _level(random, names, own, depth + 1, deepest, mode)
        rows.append(row)
    return rows


def _bounds(random: Random, row: dict[str, Any], own: dict[str, int]) -> None:
    if random.random() < 0.3:
        row["reserve"] = {name: random.randint(0, amount) for name, amount in own.items()}
    if random.random() < 0.2:
        row["limit"] = {name: own.get(name, 0) + random.randint(0, 8) for name in RESOURCES}
    if random.random() < 0.2:
        row["borrowLimit"] = {name: random.randint(0, 6) for name in RESOURCES}
    row["grace"] = f"{random.choice([0, 0, 5, 20])}s"
    row["rank"] = random.randint(1, 3)
    if random.random() < 0.2:
        row["rebalance"] = random.choice(["sticky", "adjust"])


def random_allocator(random: Random, resources: int = 2, **settings: Any) -> Allocator:
    """An allocator on a random tree of one group."""
    capacity = {name: random.randint(1, 24) for name in RESOURCES[:resources]}
    group = group_document(random, capacity, **settings)
    plan = parse_spec({"groups": [group]}, ZoneInfo)
    return Allocator(plan, {"default": capacity}, 0, zones=ZoneInfo)


def random_operation(
    random: Random, allocator: Allocator, number: int, *, unit: bool = False
) -> Operation:
    """Something that may happen next; allocations named are among those that exist."""
    pool = allocator.pools["default"]
    names = [pool.tree.consumers[leaf].name for leaf in pool.tree.leaves]
    existing = sorted(allocator.allocations)
    kind = random.random()
    if kind < 0.62 or not existing:
        return _request(random, names, number, pool.allocatable, unit=unit)
    identity = random.choice(existing)
    if kind < 0.80:
        return Release(identity)
    if kind < 0.85:
        return Cancel(identity)
    if kind < 0.89:
        held = allocator.allocations[identity].held
        part = {name: random.randint(0, amount) for name, amount in held.items()}
        return Release(identity, part, autoadjust=random.random() < 0.5)
    if kind < 0.93:
        unit_now = allocator.allocations[identity].unit
        return Modify(identity, {name: random.randint(0, 5) for name in unit_now})
    if kind < 0.95:
        return Stopping(identity)
    if kind < 0.97:
        return SetCapacity({name: random.randint(1, 24) for name in pool.allocatable})
    return Tick()


def _request(
    random: Random, names: list[str], number: int, capacity: Any, *, unit: bool
) -> Request:
    size = 1 if unit else random.choice([1, 1, 2, 3, 5])
    vector = {name: random.randint(0, size) for name in capacity}
    vector[next(iter(capacity))] = size
    most = 1 if unit or random.random() < 0.8 else random.randint(1, 5)
    return Request(
        f"p{number}",
        random.choice(names),
        vector,
        minimum=random.randint(1, most),
        maximum=most,
        priority=random.randint(0, 2),
        firm=not unit and random.random() < 0.05,
        retry=random.random() < 0.2,
    )
