"""Several resources and several groups: a request needs all, a claim its plan only where short."""

from typing import Any
from zoneinfo import ZoneInfo

from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.plan.plan_reading import parse_spec
from nodeagent.allocator.status import held
from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import Release, Request, Tick
from tests.nodeagent.allocator.invariants import check_all
from tests.nodeagent.allocator.plans import Bench, spec

CAPACITY = {"cpu": 10_000, "memory": 10 << 30, "gpu": 4}


def allocator(consumers: list[dict[str, Any]], capacity: dict[str, int] | None = None) -> Allocator:
    plan = parse_spec(spec(consumers), ZoneInfo)
    return Allocator(plan, {"default": capacity or CAPACITY}, 0, zones=ZoneInfo)


def ask(
    found: Allocator, seq: int, consumer: str, vector: dict[str, int], **more: Any
) -> tuple[str, list[str]]:
    """The verdict, and what is forced to stop."""
    decision = found.apply(Request(f"{consumer}{seq}", consumer, vector, **more), 0, seq)
    forced = [
        row["id"]
        for event in decision.events
        if event.type is EventType.FORCED
        for row in event.fields["strict"]
    ]
    check_all(found)
    return decision.verdict.answer.value, forced


def test_a_request_needs_every_resource() -> None:
    found = allocator([{"name": "a"}, {"name": "b"}])
    assert ask(found, 1, "a", {"cpu": 2000, "gpu": 4})[0] == "GRANTED"
    assert ask(found, 2, "b", {"cpu": 1000}) == ("GRANTED", [])
    assert ask(found, 3, "a", {"cpu": 1000, "gpu": 1})[0] == "PENDING"
    assert held(found)["a"] == {"cpu": 2000, "gpu": 4, "memory": 0}


def test_a_claim_needs_its_plan_only_in_what_is_short() -> None:
    """b is above its plan of cpu, of which there is enough, and claims gpus, which it owns."""
    rows = [{"name": "a", "share": 9}, {"name": "b", "own": {"gpu": 2}}]
    found = allocator(rows)
    assert ask(found, 1, "b", {"cpu": 4000})[0] == "GRANTED"
    for seq in range(2, 6):
        assert ask(found, seq, "a", {"cpu": 1000, "gpu": 1})[0] == "GRANTED"
    assert ask(found, 6, "b", {"cpu": 1000, "gpu": 1}) == ("RECLAIMING", ["a5"])


def test_victims_hold_what_is_short() -> None:
    rows = [{"name": "a"}, {"name": "b", "own": {"cpu": 5, "gpu": 2}}]
    found = allocator(rows)
    assert ask(found, 1, "a", {"gpu": 4})[0] == "GRANTED"
    assert ask(found, 2, "a", {"cpu": 9000})[0] == "GRANTED"
    assert ask(found, 3, "b", {"cpu": 5000}) == ("RECLAIMING", ["a2"])


def test_the_dominant_share_orders_the_queue() -> None:
    """When all is free again, x has the smaller part of what it holds most of."""
    rows = [{"name": "boss", "own": {"cpu": 10, "gpu": 4}}, {"name": "y"}, {"name": "x"}]
    found = allocator(rows)
    assert ask(found, 1, "y", {"gpu": 2})[0] == "GRANTED"
    assert ask(found, 2, "x", {"cpu": 2000})[0] == "GRANTED"
    assert ask(found, 3, "boss", {"cpu": 8000})[0] == "GRANTED"
    assert ask(found, 4, "y", {"cpu": 4000})[0] == "PENDING"
    assert ask(found, 5, "x", {"cpu": 4000})[0] == "PENDING"
    decision = found.apply(Release("boss3"), 0, 6)
    granted = [e.fields["id"] for e in decision.events if e.type is EventType.GRANTED]
    assert granted == ["x5", "y4"]


def test_large_amounts_are_exact() -> None:
    total = (1 << 62) + 12_345
    found = allocator([{"name": "a"}, {"name": "b", "share": 2}], {"memory": total})
    assert found.pools["default"].entitlements[0].deserved == [
        total,
        total // 3,
        total * 2 // 3 + 1,
    ]


def test_groups_are_apart() -> None:
    window = {"when": "always", "consumers": [{"name": "a"}, {"name": "b"}]}
    only = {"when": "always", "consumers": [{"name": "g", "own": {"gpu": 4}}, {"name": "a"}]}
    body = {"groups": [{"name": "one", "windows": [window]}, {"name": "two", "windows": [only]}]}
    capacity = {"one": {"cpu": 2000}, "two": {"gpu": 4}}
    found = Allocator(parse_spec(body, ZoneInfo), capacity, 0, zones=ZoneInfo)
    assert ask(found, 1, "a", {"cpu": 2000})[0] == "GRANTED"
    assert ask(found, 2, "a", {"gpu": 1})[0] == "REFUSED"
    assert ask(found, 3, "a", {"gpu": 4}, group="two")[0] == "GRANTED"
    assert ask(found, 4, "g", {"gpu": 1}) == ("RECLAIMING", ["a3"])
    assert ask(found, 5, "b", {"cpu": 1000}) == ("RECLAIMING", ["a1"])
    twin = Allocator.from_document(found.to_document(), zones=ZoneInfo)
    assert twin.to_document() == found.to_document()


def test_nested_limits_are_made_room_for_inside() -> None:
    """An inner limit that siblings have used up does not refuse an owner below it."""
    rows = [
        {
            "name": "p",
            "own": {"slots": 4},
            "limit": {"slots": 6},
            "consumers": [{"name": "x", "own": {"slots": 3}}, {"name": "y"}],
        },
        {"name": "q", "own": {"slots": 4}},
    ]
    bench = Bench(rows, {"slots": 10})
    bench.ask_units("y", "y", 8)
    assert bench.held() == {"y": 6}
    bench.ask_units("x", "x", 3)
    assert bench.held() == {"x": 3, "y": 3}
    assert bench.ask("big", "y", 7) == "REFUSED"


def test_units_set_aside_stay_so_while_they_grow() -> None:
    rows = [{"name": "o", "own": {"slots": 4}}, {"name": "g"}]
    bench = Bench(rows, {"slots": 4})
    bench.ask("g", "g", 4)
    bench.ask("o", "o", 1, minimum=1, maximum=4, retry=True)
    bench.obey()
    assert bench.state("o") == "EARMARKED"
    bench.do(Release("o", {"slots": 1}, autoadjust=False))
    assert bench.state("o") == "EARMARKED"
    bench.do(Tick(), at=61)
    assert bench.held() == {"g": 4}
