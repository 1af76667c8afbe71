"""Decisions of the allocator compared with the slow model, request by request on small trees."""

from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.tree.division import hamilton, waterfill
from nodeagent.allocator.values.event import Answer, EventType
from nodeagent.allocator.values.operation import Release, Request
from tests.nodeagent.allocator import model


def _row(random: Random, name: str, own: int) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "own": {"u": own}, "share": random.choice([0, 1, 1, 2, 3])}
    if random.random() < 0.3:
        row["reserve"] = {"u": random.randint(0, own)}
    if random.random() < 0.2:
        row["limit"] = {"u": own + random.randint(0, 4)}
    if random.random() < 0.2:
        row["borrowLimit"] = {"u": random.randint(0, 4)}
    return row


def _tree(random: Random, capacity: int) -> list[dict[str, Any]]:
    rows, left = [], capacity
    for number in range(random.randint(1, 3)):
        own = random.randint(0, left)
        left -= own
        row = _row(random, f"n{number}", own)
        if random.random() < 0.5:
            inside = own
            row["consumers"] = []
            for child in range(random.randint(1, 3)):
                part = random.randint(0, inside)
                inside -= part
                row["consumers"].append(_row(random, f"n{number}-{child}", part))
        rows.append(row)
    return rows


def _leaf(row: dict[str, Any], sticky: bool) -> model.Leaf:
    return model.Leaf(
        name=row["name"],
        own=row["own"]["u"],
        share=row["share"],
        limit=row.get("limit", {}).get("u", model.inf),
        borrow_limit=row.get("borrowLimit", {}).get("u", model.inf),
        reserve=row.get("reserve", {}).get("u", 0),
        sticky=sticky,
        children=[_leaf(child, sticky) for child in row.get("consumers", [])],
    )


def _pair(random: Random) -> tuple[Allocator, model.Leaf, int]:
    capacity, sticky = random.randint(1, 12), random.random() < 0.5
    rows = _tree(random, capacity)
    group = {
        "name": "default",
        "rebalance": "sticky" if sticky else "adjust",
        "windows": [{"when": "always", "consumers": rows}],
    }
    allocator = Allocator(
        parse_spec({"groups": [group]}, ZoneInfo), {"default": {"u": capacity}}, 0, zones=ZoneInfo
    )
    root = model.Leaf("/", sticky=sticky, children=[_leaf(row, sticky) for row in rows])
    model.deserve(root, capacity)
    return allocator, root, capacity


@pytest.mark.parametrize("seed", range(20))
def test_every_decision_is_the_models(seed: int) -> None:
    """Verdict and victims agree; victims are one of the smallest sets that would do."""
    for number in range(40):
        random = Random(seed * 1000 + number)
        allocator, root, capacity = _pair(random)
        pool = allocator.pools["default"]
        for name, plan in zip(pool.tree.names, pool.entitlements[0].deserved, strict=True):
            assert root.path(name)[-1].deserved == plan
        for step in range(12):
            _step(random, allocator, root, capacity, step)


def _step(random: Random, allocator: Allocator, root: model.Leaf, capacity: int, step: int) -> None:
    leaf = random.choice(root.leaves())
    size = random.choice([1, 1, 2, 3])
    expected, choices = model.decide(root, capacity, leaf.name, size)
    key = f"p{step}"
    decision = allocator.apply(Request(key, leaf.name, {"u": size}), 0, step * 100)
    assert decision.verdict.answer.value == expected
    if expected == "GRANTED":
        leaf.units[key] = size
    if expected == "PENDING":
        allocator.apply(Release(key), 0, step * 100 + 1)
    if expected == "RECLAIMING":
        forced = [event for event in decision.events if event.type is EventType.FORCED]
        victims = {row["id"] for event in forced for row in event.fields["strict"]}
        assert victims in choices
        for number, victim in enumerate(sorted(victims)):
            allocator.apply(Release(victim), 0, step * 100 + 1 + number)
            for other in root.leaves():
                other.units.pop(victim, None)
        assert allocator.apply(
            Request(key, leaf.name, {"u": size}), 0, step * 100 + 50
        ).verdict.answer
        assert allocator.allocations[key].held == {"u": size}
        leaf.units[key] = size
    if random.random() < 0.3 and leaf.units:
        gone = random.choice(sorted(leaf.units))
        allocator.apply(Release(gone), 0, step * 100 + 60)
        del leaf.units[gone]


def test_answers_are_named_as_in_the_model() -> None:
    assert {answer.value for answer in Answer} >= {"GRANTED", "RECLAIMING", "PENDING", "REFUSED"}


@pytest.mark.parametrize("seed", range(10))
def test_division_is_the_models(seed: int) -> None:
    random = Random(seed)
    for _ in range(300):
        count = random.randint(1, 6)
        names = [str(number) for number in range(count)]
        weights = [random.choice([0, 1, 1, 2, 3, 7]) for _ in names]
        caps = [random.choice([0, 1, 3, 8, 1 << 70]) for _ in names]
        total = random.randint(0, 40)
        slow = model.fill(
            total,
            names,
            dict(zip(names, weights, strict=True)),
            {
                name: float("inf") if cap > 100 else cap
                for name, cap in zip(names, caps, strict=True)
            },
        )
        assert waterfill(total, weights, caps) == [slow[name] for name in names]
        parts = [random.randint(0, 9) for _ in names]
        small = random.randint(0, sum(parts) + 2)
        slow = model.scaled(small, names, {k: float(v) for k, v in zip(names, parts, strict=True)})
        assert hamilton(small, parts) == [slow[name] for name in names]
