"""Scenario files, operations and snapshots as documents: good ones, bad ones, and naming pods."""

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.naming import consumer_of
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.allocator.values.operation import (
    ApplyPlan,
    Block,
    Cancel,
    Modify,
    Offer,
    OperationRefused,
    Release,
    Request,
    SetCapacity,
    Stopping,
    Tick,
    Unblock,
    operation_document,
    operation_from_document,
)
from nodeagent.simulate.replay import simulate
from tests.nodeagent.allocator.plans import REFERENCE, Bench, document, spec

ASK = {"id": "a", "consumer": "A", "slots": 4}


def scenario(*events: Any, **more: Any) -> dict[str, Any]:
    return {"plan": spec(REFERENCE), "capacity": {"slots": 20}, "events": list(events), **more}


@pytest.mark.parametrize(
    ("bad", "path"),
    [
        (None, "scenario"),
        (scenario(extra=1), "extra"),
        (scenario(plan={}), "plan.groups"),
        (scenario(plan=7), "plan"),
        (scenario(plan={"file": "gone.yaml"}), "plan.file"),
        (scenario(capacity=3), "capacity"),
        (scenario(capacity={"slots": "many"}), "capacity.slots"),
        (scenario(capacity={"other": {"slots": 1}}), "capacity.other"),
        (scenario(start="tomorrow"), "start"),
        (scenario(events=5), "events"),
        (scenario(5), "events[0]"),
        (scenario({"at": "0s"}), "events[0]"),
        (scenario({"at": "0s", "cancel": "a", "release": "a"}), "events[0]"),
        (scenario({"at": "soon", "request": ASK}), "events[0].at"),
        (scenario({"at": "0s", "request": []}), "events[0].request"),
        (scenario({"at": "0s", "request": {"id": "a", "consumer": "A"}}), "events[0].request"),
        (scenario({"at": "0s", "request": {**ASK, "id": 3}}), "events[0].request.id"),
        (scenario({"at": "0s", "request": {**ASK, "count": 3}}), "events[0].request.slots"),
        (scenario({"at": "0s", "request": {**ASK, "count": 0}}), "events[0].request.count"),
        (scenario({"at": "0s", "request": {**ASK, "slots": -1}}), "events[0].request.slots"),
        (scenario({"at": "0s", "request": {**ASK, "firm": 1}}), "events[0].request.firm"),
        (scenario({"at": "0s", "cancel": 4}), "events[0].cancel"),
        (scenario({"at": "0s", "expect": {"B": 4}}), "events[0].expect.B"),
        (scenario({"at": "0s", "expect": {"A": "x"}}), "events[0].expect.slots"),
        (scenario({"at": "0s", "explode": 1}), "events[0].explode"),
        (scenario({"at": "0s", "modify": {"id": "gone", "slots": 1}}), "events[0].modify"),
        (scenario({"at": "0s", "plan": {"groups": []}}), "plan.groups"),
    ],
)
def test_a_bad_scenario_is_refused_with_the_path(bad: Any, path: str) -> None:
    def load(name: str) -> object:
        raise FileNotFoundError(2, "No such file or directory", name)

    with pytest.raises(DocumentRefused) as caught:
        simulate(bad, ZoneInfo, load)
    assert path in [problem.path for problem in caught.value.problems]


def test_a_failed_expectation_is_listed() -> None:
    result = simulate(
        scenario({"at": "1s", "request": ASK}, {"at": "1s", "expect": {"A": 5}}), ZoneInfo
    )
    assert result["failed_expectations"] == [
        {
            "at": "1s",
            "path": "events[1].expect",
            "consumer": "A",
            "resource": "slots",
            "expected": 5,
            "held": 4,
        }
    ]


def test_a_scenario_may_name_its_plan_and_use_every_event() -> None:
    rows = [{"name": "A", "own": {"cpu": 1}}, {"name": "B", "grace": "5s"}]
    events: list[dict[str, Any]] = [
        {"at": "0s", "request": {"id": "b", "consumer": "B", "cpu": "4", "memory": "1Gi"}},
        {"at": "1s", "request": {"id": "a", "consumer": "A", "cpu": "500m"}},
        {"at": "2s", "expect": {"A": {"cpu": 0}, "B": {"cpu": "4", "memory": "1Gi"}}},
        {"at": "6s", "expect": {"A": {"cpu": "0.5"}, "B": {"cpu": 0}}},
        {"at": "7s", "modify": {"id": "a", "cpu": "1"}},
        {"at": "8s", "plan": {"file": "plan.yaml"}},
        {"at": "9s", "release": "a"},
        {"at": "9s", "capacity": {"cpu": "8", "memory": "1Gi"}},
        {"at": "9s", "expect": {"A": {"cpu": 0}, "B": {"cpu": "4"}}},
    ]
    body = {"plan": {"file": "plan.yaml"}, "capacity": {"cpu": "4", "memory": "1Gi"}}
    result = simulate(
        {**body, "events": events, "start": "2026-03-02T08:00:00"},
        ZoneInfo,
        lambda name: document(rows),
    )
    assert result["failed_expectations"] == []
    assert [step["at"] for step in result["steps"]] == [
        f"{second}s" for second in (0, 1, 2, 6, 7, 8, 9)
    ]
    notice = result["steps"][1]["events"][0]
    assert (notice["type"], notice["deadline"]) == ("RECLAIM_NOTICE", "6s")
    assert result["steps"][0]["held"]["B"] == {"cpu": "4", "memory": "1Gi"}
    json.dumps(result)


def test_reclaims_at_the_end_run_out() -> None:
    rows = [{"name": "A", "own": {"slots": 1}}, {"name": "B", "grace": "5s"}]
    events = [
        {"at": "0s", "request": {"id": "b", "consumer": "B", "slots": 1}},
        {"at": "0s", "request": {"id": "a", "consumer": "A", "slots": 1}},
    ]
    result = simulate({"plan": spec(rows), "capacity": {"slots": 1}, "events": events}, ZoneInfo)
    assert [(step["at"], step["held"]["A"]["slots"]) for step in result["steps"]] == [
        ("0s", 0),
        ("5s", 1),
    ]


OPERATIONS = [
    Request("a", "A", {"slots": 1}, minimum=2, maximum=3, firm=True),
    Modify("a", delta={"slots": -1}),
    Release("a", {"slots": 1}, autoadjust=False, block="x"),
    Cancel("a"),
    Offer("n", (("a", None), ("b", {"slots": 1}))),
    Stopping("a"),
    Block("x", {"slots": 1}),
    Unblock("x"),
    SetCapacity({"slots": 1}, "default"),
    ApplyPlan(document(REFERENCE)),
    Tick(),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: type(one).__name__)
def test_operations_travel_as_json(operation: Any) -> None:
    text = json.dumps(operation_document(operation))
    assert operation_from_document(json.loads(text)) == operation


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"op": "explode"},
        {"op": "request"},
        {"op": "request", "id": "", "consumer": "A", "vector": {}},
        {"op": "request", "id": "a", "consumer": 1, "vector": {}},
        {"op": "request", "id": "a", "consumer": "A", "vector": {"slots": 1.0}},
        {"op": "request", "id": "a", "consumer": "A", "vector": {"slots": True}},
        {"op": "request", "id": "a", "consumer": "A", "vector": {"slots": -1}},
        {"op": "request", "id": "a", "consumer": "A", "vector": {"slots": 1 << 63}},
        {"op": "request", "id": "a", "consumer": "A", "vector": {}, "minimum": 3, "maximum": 2},
        {"op": "request", "id": "a", "consumer": "A", "vector": {}, "priority": "high"},
        {"op": "request", "id": "a" * 600, "consumer": "A", "vector": {}},
        {"op": "modify", "id": "a", "vector": {}, "delta": {}},
        {"op": "modify", "id": "a", "maximum": 0},
        {"op": "release", "id": "a", "vector": []},
        {"op": "tick", "extra": 1},
    ],
)
def test_bad_operations_are_refused(document: Any) -> None:
    with pytest.raises(OperationRefused):
        operation_from_document(document)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "own", "windows", "when", "consumers", "groups", "days", "cpu"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JUNK)
def test_no_document_gets_another_error_than_refused(junk: Any) -> None:
    for body in (junk, {"groups": junk}, {"groups": [{"name": "g", "windows": junk}]}):
        try:
            parse_spec(body, ZoneInfo)
        except DocumentRefused as error:
            assert error.problems
        try:
            simulate({"plan": spec(REFERENCE), "capacity": {"slots": 1}, "events": junk}, ZoneInfo)
        except DocumentRefused as error:
            assert error.problems


def test_a_snapshot_of_another_version_is_not_read() -> None:
    bench = Bench(REFERENCE, {"slots": 20})
    with pytest.raises(ValueError, match="version"):
        Allocator.from_document({**bench.allocator.to_document(), "version": 99}, zones=ZoneInfo)


@pytest.mark.parametrize(
    ("labels", "annotations", "namespace", "expected"),
    [
        ({"berth.dev/consumer": "web"}, {"berth.dev/consumer-path": "/x/api"}, "a", "web"),
        ({}, {"berth.dev/consumer-path": "/prod/api/"}, "a", "api"),
        ({"kueue.x-k8s.io/queue-name": "q1"}, {}, "a", "web"),
        ({"kueue.x-k8s.io/queue-name": "api"}, {}, "a", "api"),
        ({"quota.scheduling.koordinator.sh/name": "api"}, {}, "a", "api"),
        ({}, {}, "ml-7", "api"),
        ({}, {}, "elsewhere", "default"),
        ({"berth.dev/consumer": "typo"}, {}, "a", "typo"),
    ],
)
def test_a_pods_consumer_is_the_first_named(
    labels: dict[str, str], annotations: dict[str, str], namespace: str, expected: str
) -> None:
    rows = [{"name": "web"}, {"name": "api", "namespaces": ["ml-*"]}, {"name": "default"}]
    consumers = parse_spec(spec(rows), ZoneInfo).groups[0].windows[0].consumers
    found = consumer_of(consumers, labels, annotations, namespace, {"q1": "web"})
    assert found == expected
    assert consumer_of(consumers[:2], {}, {}, "") is None
