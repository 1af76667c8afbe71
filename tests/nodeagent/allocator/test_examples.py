"""The worked examples of the specification, to the number."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from nodeagent.simulate.replay import simulate
from tests.nodeagent.allocator.plans import REFERENCE, spec

HYBRID: list[dict[str, Any]] = [
    {
        "name": "prod",
        "own": {"slots": 8},
        "share": 1,
        "reserve": {"slots": 2},
        "consumers": [
            {"name": "web", "own": {"slots": 6}, "share": 2},
            {"name": "api", "own": {"slots": 2}, "share": 1},
        ],
    },
    {
        "name": "batch",
        "own": {"slots": 4},
        "share": 3,
        "consumers": [
            {"name": "etl", "own": {"slots": 2}, "share": 1},
            {"name": "ml", "own": {"slots": 2}, "share": 3},
        ],
    },
    {"name": "orca", "own": {"slots": 0}, "share": 1, "borrowLimit": {"slots": 6}},
]
EQUAL = [{"name": "A"}, {"name": "B"}, {"name": "C"}]
LENDER = [{"name": "owner", "own": {"slots": 10}}, {"name": "x"}, {"name": "y", "share": 3}]


def wants(at: int, consumer: str, amount: int, name: str) -> dict[str, Any]:
    request = {"id": name, "consumer": consumer, "slots": amount, "count": amount}
    return {"at": f"{at}s", "request": request}


def expects(at: int, **held: int) -> dict[str, Any]:
    return {"at": f"{at}s", "expect": held}


def cancels(at: int, name: str) -> dict[str, Any]:
    return {"at": f"{at}s", "cancel": name}


def run(
    consumers: list[dict[str, Any]], slots: int, *events: dict[str, Any], **group: Any
) -> dict[str, Any]:
    scenario = {
        "plan": spec(consumers, **group),
        "capacity": {"slots": slots},
        "events": list(events),
    }
    result = simulate(scenario, ZoneInfo)
    assert result["failed_expectations"] == []
    return result


@pytest.mark.parametrize(("rebalance", "b1", "b2"), [("sticky", 8, 12), ("adjust", 5, 15)])
def test_reference_example(rebalance: str, b1: int, b2: int) -> None:
    result = run(
        REFERENCE,
        20,
        wants(0, "A", 20, "a1"),
        expects(0, A=20),
        wants(10, "B1", 20, "b1"),
        expects(10, A=4, B1=16),
        cancels(20, "a1"),
        expects(20, A=0, B1=20),
        wants(30, "B2", 20, "b2"),
        expects(30, B1=b1, B2=b2),
        wants(40, "A", 20, "a2"),
        expects(40, A=4, B1=4, B2=12),
        rebalance=rebalance,
    )
    assert result["steps"][0]["deserved"] == {
        "A": {"slots": 4},
        "B1": {"slots": 4},
        "B2": {"slots": 12},
    }
    assert [step["at"] for step in result["steps"]] == ["0s", "10s", "20s", "30s", "40s"]


def test_one_from_the_most_over_allocated() -> None:
    events = (wants(1, "A", 7, "a"), wants(1, "B", 5, "b"), wants(2, "C", 1, "c"))
    run(EQUAL, 12, *events, expects(2, A=6, B=5, C=1))


def test_one_from_each_of_two_alike() -> None:
    events = (wants(1, "A", 9, "a"), wants(1, "B", 9, "b"), wants(2, "C", 2, "c"))
    run(EQUAL, 18, *events, expects(2, A=8, B=8, C=2))


def test_the_odd_slot_is_the_first_consumers() -> None:
    events = (wants(1, "B", 1, "b"), wants(2, "C", 1, "c"), wants(2, "A", 1, "a"))
    run(EQUAL, 1, *events, expects(2, A=1, B=0, C=0))


def test_hybrid_from_e1_to_e7() -> None:
    result = run(
        HYBRID,
        16,
        wants(1, "orca", 20, "orca"),
        expects(1, orca=7),
        wants(2, "ml", 20, "ml"),
        expects(2, ml=7, orca=7),
        wants(3, "web", 9, "web"),
        expects(3, web=9, ml=6, orca=1),
        wants(4, "api", 4, "api"),
        expects(4, web=7, api=2, ml=6, orca=1),
        cancels(5, "ml"),
        expects(5, web=9, api=3, orca=4),
        wants(6, "etl", 6, "etl"),
        expects(6, web=7, api=2, etl=6, orca=1),
        {"at": "7s", "capacity": {"slots": 10}},
        expects(7, web=5, api=2, etl=3, orca=0),
    )
    first = {name: row["slots"] for name, row in result["steps"][0]["deserved"].items()}
    assert first == {"web": 7, "api": 2, "etl": 3, "ml": 3, "orca": 1}


def test_proportional_borrowing_and_reclaim() -> None:
    run(
        LENDER,
        10,
        wants(0, "owner", 10, "o"),
        wants(1, "x", 10, "x"),
        wants(1, "y", 10, "y"),
        cancels(2, "o"),
        expects(2, owner=0, x=3, y=7),
        wants(3, "owner", 4, "o4"),
        expects(3, owner=4, x=2, y=4),
        wants(4, "owner", 6, "o6"),
        expects(4, owner=10, x=0, y=0),
    )


def test_proportional_reclaim_in_one_request() -> None:
    whole = {"at": "3s", "request": {"id": "o4", "consumer": "owner", "slots": 4}}
    for cut in ("waterfill", "prorata"):
        run(
            LENDER,
            10,
            wants(0, "owner", 10, "o"),
            wants(1, "x", 10, "x"),
            wants(1, "y", 10, "y"),
            cancels(2, "o"),
            whole,
            expects(3, owner=4, x=2, y=4),
            cut=cut,
        )


SCENARIO = """
plan:
  groups:
  - name: default
    windows:
    - when: always
      consumers:
      - name: A
      - name: B
        share: 4
        consumers:
        - name: B1
        - {name: B2, share: 3}
capacity: {slots: 20}
events:
- {at: 0s, request: {id: a1, consumer: A, slots: 20, count: 20}}
- {at: 10s, request: {id: b1, consumer: B1, slots: 20, count: 20}}
- {at: 20s, cancel: a1}
- {at: 30s, expect: {A: 0, B1: 20}}
"""


def test_the_scenario_file_as_documented() -> None:
    result = simulate(yaml.safe_load(SCENARIO), ZoneInfo)
    assert result["failed_expectations"] == []
    first = result["steps"][0]
    assert first["at"] == "0s"
    assert first["held"] == {"A": {"slots": 20}, "B1": {"slots": 0}, "B2": {"slots": 0}}
    assert set(first) == {"at", "held", "pending", "deserved", "events"}
    assert first["events"][0]["type"] == "GRANTED"
    assert [step["at"] for step in result["steps"]] == ["0s", "10s", "20s", "30s"]
