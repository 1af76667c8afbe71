"""Every field of plan, scenario and request in transaction, with every kind of wrong value.

Whatever is refused is refused whole, with a path at or near the field and what would be accepted.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.allocator.values.operation import (
    ApplyPlan,
    OperationRefused,
    operation_document,
    operation_from_document,
)
from nodeagent.simulate.replay import simulate
from tests.nodeagent.allocator.plans import Bench, document
from tests.nodeagent.allocator.test_plan_reading import GOOD

WRONG: list[Any] = [
    None,
    True,
    -1,
    1 << 70,
    1.5,
    float("nan"),
    float("inf"),
    "",
    "?",
    "x" * 2000,
    "\x00",
    "../..",
    [],
    [None],
    [[]],
    {},
    {"?": 1},
    {1: 2},
]
EVERYTHING: dict[str, Any] = {
    "order": "reclaimFirst",
    "cut": "prorata",
    "policy": "hybrid",
    "overAllocate": True,
}
FIELDS: dict[str, Any] = {
    "borrowMinRuntime": "5s",
    "rebalance": "adjust",
    "rebalanceOnWindow": True,
    "lendTo": ["batch"],
}


def everything() -> Any:
    """A valid plan with every field there is."""
    plan = copy.deepcopy(GOOD)
    group = plan["spec"]["groups"][0]
    group.update(EVERYTHING)
    group["windows"][0]["consumers"][0]["consumers"][0].update(FIELDS)
    return plan


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys of every field, containers included."""
    if path:
        yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in rows:
        if isinstance(below, dict | list):
            yield from places(below, (*path, key))
        else:
            yield (*path, key)


def with_wrong(value: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    return changed


def said(error: DocumentRefused) -> None:
    assert error.problems
    assert all(problem.path and problem.fault and problem.accepted for problem in error.problems)
    assert len(str(error)) < 200_000


@pytest.mark.parametrize("wrong", WRONG, ids=lambda it: repr(it)[:12])
def test_a_plan_is_accepted_or_refused_whole(wrong: Any) -> None:
    rows = [{"name": "a", "own": {"cpu": 1}}]
    bench = Bench(rows, {"cpu": 64_000, "memory": 1 << 40, "nvidia.com/gpu": 8})
    bench.do(ApplyPlan(everything()))
    refused = 0
    for path in places(everything()):
        before = bench.allocator.to_document()
        try:
            bench.do(ApplyPlan(with_wrong(everything(), path, wrong)))
        except DocumentRefused as error:
            refused += 1
            said(error)
            assert bench.allocator.to_document() == before
            bench.seq -= 1
        else:
            assert json.dumps(bench.allocator.plan.document)
            bench.do(ApplyPlan(everything()))
    assert refused > 20


SCENARIO: dict[str, Any] = {
    "plan": document([{"name": "A", "own": {"slots": 2}}, {"name": "B"}])["spec"],
    "capacity": {"slots": 4},
    "start": "2026-03-02T08:00:00",
    "events": [
        {
            "at": "0s",
            "request": {
                "id": "a",
                "consumer": "A",
                "slots": 2,
                "count": 2,
                "group": "default",
                "minimum": 1,
                "maximum": 1,
                "priority": 3,
                "namespace": "n",
                "firm": False,
            },
        },
        {"at": "1s", "modify": {"id": "a", "slots": 1}},
        {"at": "2s", "capacity": {"slots": 5}},
        {"at": "3s", "expect": {"A": 2}},
        {"at": "4s", "cancel": "a"},
    ],
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda it: repr(it)[:12])
def test_a_scenario_is_replayed_or_refused(wrong: Any) -> None:
    assert simulate(SCENARIO, ZoneInfo)["failed_expectations"] == []
    refused = 0
    for path in places(SCENARIO):
        try:
            result = simulate(with_wrong(SCENARIO, path, wrong), ZoneInfo)
        except DocumentRefused as error:
            refused += 1
            said(error)
        else:
            assert result["steps"] is not None
    assert refused > 15


OPERATIONS: list[dict[str, Any]] = [
    {
        "op": "request",
        "id": "a",
        "consumer": "a",
        "vector": {"slots": 1},
        "group": "default",
        "minimum": 1,
        "maximum": 2,
        "priority": 0,
        "namespace": "n",
        "firm": False,
        "retry": True,
    },
    {"op": "modify", "id": "a", "vector": {"slots": 1}, "minimum": 1, "maximum": 2},
    {"op": "modify", "id": "a", "delta": {"slots": 1}},
    {"op": "release", "id": "a", "vector": {"slots": 1}, "autoadjust": True, "block": "b"},
    {"op": "offer", "notice": "n", "entries": [["a", {"slots": 1}]]},
    {"op": "block", "unit": "u", "vector": {"slots": 1}, "group": "default"},
    {"op": "unblock", "unit": "u", "group": "default"},
    {"op": "capacity", "vector": {"slots": 1}, "group": "default"},
    {"op": "cancel", "id": "a"},
    {"op": "stopping", "id": "a"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda it: repr(it)[:12])
@pytest.mark.parametrize("good", OPERATIONS, ids=lambda it: str(it["op"]))
def test_an_operation_is_done_or_refused(good: dict[str, Any], wrong: Any) -> None:
    for path in places(good):
        bench = Bench([{"name": "a"}, {"name": "b"}], {"slots": 4})
        bench.ask("b", "b", 1)
        before = bench.allocator.to_document()
        try:
            operation = operation_from_document(with_wrong(good, path, wrong))
            bench.do(operation)
        except OperationRefused as error:
            assert error.field
            assert error.accepted
            assert bench.allocator.to_document() == before
        else:
            assert json.loads(json.dumps(operation_document(operation)))
