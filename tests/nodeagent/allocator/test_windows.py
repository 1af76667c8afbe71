"""Windows of the week: which is in force, when the next begins, and what a change of plan does."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.calendar import next_boundary, window_at
from nodeagent.allocator.plan.plan import Window
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.allocator.status import held
from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import (
    ApplyPlan,
    OperationRefused,
    Request,
    Tick,
    operation_document,
    operation_from_document,
)
from tests.nodeagent.allocator.invariants import check_all
from tests.nodeagent.allocator.plans import Bench, document

DAY = [{"name": "day", "own": {"slots": 8}}, {"name": "night", "own": {"slots": 2}}]
NIGHT = [{"name": "day", "own": {"slots": 2}}, {"name": "night", "own": {"slots": 8}}]


def two_windows(zone: str, day: Any = DAY, night: Any = NIGHT) -> dict[str, Any]:
    windows = [
        {"when": {"from": "08:00", "to": "20:00"}, "consumers": day},
        {"when": {"from": "20:00", "to": "08:00"}, "consumers": night},
    ]
    return {"timeZone": zone, "groups": [{"name": "default", "windows": windows}]}


def windows(zone: str) -> tuple[Window, ...]:
    return parse_spec(two_windows(zone), ZoneInfo).groups[0].windows


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


@pytest.mark.parametrize(
    ("zone", "now", "following"),
    [
        ("UTC", "2026-03-02T09:00", "2026-03-02T20:00"),
        ("UTC", "2026-03-02T20:00", "2026-03-03T08:00"),
        ("Europe/Berlin", "2026-03-28T21:00", "2026-03-29T08:00"),
        ("Europe/Berlin", "2026-10-24T21:00", "2026-10-25T08:00"),
        ("Asia/Kathmandu", "2026-03-02T07:59", "2026-03-02T08:00"),
        ("Australia/Lord_Howe", "2026-04-04T21:00", "2026-04-05T08:00"),
    ],
)
def test_the_next_boundary_is_on_the_wall_clock(zone: str, now: str, following: str) -> None:
    assert next_boundary(windows(zone), at(now, zone), ZoneInfo(zone)) == at(following, zone)


def test_a_clock_change_may_begin_a_window() -> None:
    """02:30 does not exist on that night: the window begins when the clock jumps over it."""
    rows = [
        {"when": {"from": "02:30", "to": "12:00"}, "consumers": DAY},
        {"when": {"from": "12:00", "to": "02:30"}, "consumers": DAY},
    ]
    plan = parse_spec({"groups": [{"name": "g", "windows": rows}]}, ZoneInfo)
    zone = ZoneInfo("Europe/Berlin")
    jump = int(datetime(2026, 3, 29, 1, 0, tzinfo=UTC).timestamp())
    assert next_boundary(plan.groups[0].windows, jump - 3600, zone) == jump


@given(
    st.integers(0, 2_000_000_000),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"]),
)
@settings(max_examples=60, deadline=None)
def test_nothing_changes_before_the_next_boundary(instant: int, name: str) -> None:
    zone = ZoneInfo(name)
    rows = windows(name)
    following = next_boundary(rows, instant, zone)
    assert following is not None
    now = window_at(rows, instant, zone)
    assert window_at(rows, following, zone) != now
    assert window_at(rows, following - 1, zone) == now
    for part in range(1, 10):
        assert window_at(rows, instant + (following - 1 - instant) * part // 10, zone) == now


def test_one_window_has_no_boundary() -> None:
    plan = parse_spec(document(DAY)["spec"], ZoneInfo)
    assert next_boundary(plan.groups[0].windows, 0, plan.zone) is None


def _ledger(day: Any = DAY, night: Any = NIGHT) -> Allocator:
    start = at("2026-03-02T19:00") * 1000
    plan = parse_spec(two_windows("UTC", day, night), ZoneInfo)
    allocator = Allocator(plan, {"default": {"slots": 10}}, start, zones=ZoneInfo)
    for number in range(8):
        allocator.apply(Request(f"d{number}", "day", {"slots": 1}), start, number)
    return allocator


def test_a_window_changes_the_plan_and_cuts_nobody_unless_claimed() -> None:
    allocator = _ledger()
    due = allocator.next_due()
    assert due == at("2026-03-02T20:00") * 1000
    decision = allocator.apply(Tick(), due, 100)
    assert [event.type for event in decision.events] == [EventType.PLAN_CHANGED]
    assert held(allocator)["day"] == {"slots": 8}
    claim = allocator.apply(Request("n", "night", {"slots": 5}), due, 101)
    assert claim.verdict.answer.value == "RECLAIMING"
    check_all(allocator)


def test_who_asks_for_it_is_rebalanced_when_a_window_begins() -> None:
    night = [{**NIGHT[0], "rebalanceOnWindow": True, "grace": "10s"}, NIGHT[1]]
    allocator = _ledger(night=night)
    decision = allocator.apply(Tick(), allocator.next_due() or 0, 100)
    notices = [event for event in decision.events if event.type is EventType.RECLAIM_NOTICE]
    assert len(notices[0].fields["strict"]) == 6
    assert allocator.next_due() == notices[0].fields["deadline"]
    check_all(allocator)


def test_waiting_owners_claim_as_soon_as_their_window_begins() -> None:
    allocator = _ledger()
    start = allocator.now
    for number in range(4):
        allocator.apply(Request(f"n{number}", "night", {"slots": 1}), start, 20 + number)
    assert allocator.allocations["n2"].state.value == "PENDING"
    decision = allocator.apply(Tick(), allocator.next_due() or 0, 100)
    assert [event.type for event in decision.events if event.type is EventType.FORCED]
    assert allocator.allocations["n2"].state.value == "RECLAIMING"


def test_a_bad_plan_changes_nothing_and_a_good_one_acts_at_once() -> None:
    bench = Bench(DAY, {"slots": 10})
    bench.ask("d", "day", 8)
    before = bench.allocator.to_document()
    for bad in ({}, document([]), document([{"name": "day", "own": {"slots": 11}}])):
        with pytest.raises(DocumentRefused):
            bench.do(ApplyPlan(bad))
    assert bench.allocator.to_document() == before
    bench.do(ApplyPlan(document(NIGHT)))
    assert bench.events(EventType.PLAN_CHANGED)
    assert bench.ask("n", "night", 8) == "RECLAIMING"
    check_all(bench.allocator)


def test_who_leaves_the_plan_keeps_what_it_has_until_claimed() -> None:
    bench = Bench(DAY, {"slots": 10})
    for number in range(10):
        bench.ask(f"d{number}", "day", 1)
    bench.ask("more", "day", 1)
    bench.do(ApplyPlan(document([{"name": "new", "own": {"slots": 3}}])))
    (refused,) = bench.events(EventType.REFUSED)
    assert refused.fields["id"] == "more"
    assert bench.held() == {"day": 10}
    assert bench.ask("x", "day", 1) == "REFUSED"
    assert bench.ask("n", "new", 3) == "RECLAIMING"
    bench.obey()
    assert bench.held() == {"day": 7, "new": 3}
    check_all(bench.allocator)


def test_a_group_in_use_cannot_be_dropped() -> None:
    bench = Bench(DAY, {"slots": 10})
    bench.ask("d", "day", 1)
    other = document(DAY)
    other["spec"]["groups"][0]["name"] = "other"
    other["spec"]["groups"][0]["overAllocate"] = True
    with pytest.raises(DocumentRefused, match="still run"):
        bench.do(ApplyPlan(other))


def test_notices_keep_their_deadline_across_a_change_of_plan() -> None:
    rows = [DAY[0], {**DAY[1], "grace": "60s"}]
    bench = Bench(rows, {"slots": 10})
    for number in range(10):
        bench.ask(f"n{number}", "night", 1)
    bench.ask("d", "day", 1)
    bench.do(ApplyPlan(document(rows)), at=40)
    (notice,) = bench.events(EventType.RECLAIM_NOTICE)
    assert notice.fields["deadline"] == 60_000


def _with_group(name: str, own: int) -> dict[str, Any]:
    plan = document(DAY)
    window = {"when": "always", "consumers": [{"name": "extra", "own": {"slots": own}}]}
    plan["spec"]["groups"].append({"name": name, "windows": [window]})
    return plan


def test_a_new_group_comes_with_its_capacity() -> None:
    bench = Bench(DAY, {"slots": 14})
    bench.ask("d", "day", 8)
    before = bench.allocator.to_document()
    with pytest.raises(DocumentRefused, match="at most 0"):
        bench.do(ApplyPlan(_with_group("two", 4)))
    with pytest.raises(OperationRefused, match="'three' is no group"):
        bench.do(ApplyPlan(_with_group("two", 4), {"three": {"slots": 4}}))
    assert bench.allocator.to_document() == before
    operation = ApplyPlan(_with_group("two", 4), {"two": {"slots": 4}, "default": {"slots": 10}})
    assert operation_from_document(json.loads(json.dumps(operation_document(operation)))) == (
        operation
    )
    bench.do(operation)
    assert bench.ask("x", "extra", 4) == "GRANTED"
    assert bench.ask("n", "night", 3) == "PENDING"
    twin = Allocator.from_document(bench.allocator.to_document(), zones=ZoneInfo)
    assert twin.to_document() == bench.allocator.to_document()
    check_all(bench.allocator)


@pytest.mark.parametrize(
    "capacity", [3, {"default": 3}, {"default": {"slots": -1}}, {"": {"slots": 1}}, {1: {}}]
)
def test_bad_capacities_of_a_plan_are_refused(capacity: Any) -> None:
    with pytest.raises(OperationRefused, match="capacity"):
        ApplyPlan(document(DAY), capacity)
