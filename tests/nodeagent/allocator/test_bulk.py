"""Ten thousand random trees, and several hundred whole runs, against the invariants."""

from random import Random

import pytest

from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import Release, Request
from tests.nodeagent.allocator.fluid import check_tree
from tests.nodeagent.allocator.plans import Bench
from tests.nodeagent.allocator.runs import check_run


@pytest.mark.parametrize("part", range(10))
def test_random_trees(part: int) -> None:
    for seed in range(part * 1000, part * 1000 + 1000):
        check_tree(seed)


@pytest.mark.parametrize("part", range(10))
def test_random_runs(part: int) -> None:
    for seed in range(part * 30, part * 30 + 30):
        check_run(seed, 25)


@pytest.mark.parametrize("seed", [10258, 1071300, 5005600, 6027800, 7000302, 8000205])
def test_runs_that_failed_once(seed: int) -> None:
    check_run(seed, 40)


def _orders(rebalance: str, seed: int) -> dict[str, int]:
    """Everybody wants all, unit by unit, in an order of the dice."""
    rows = [
        {"name": "A", "share": 2},
        {"name": "B", "share": 3, "consumers": [{"name": "B1"}, {"name": "B2", "share": 2}]},
        {"name": "C", "own": {"slots": 3}},
    ]
    bench = Bench(rows, {"slots": 18}, rebalance=rebalance)
    asks = [(name, number) for name in ("A", "B1", "B2", "C") for number in range(18)]
    Random(seed).shuffle(asks)
    for name, number in asks:
        bench.ask(f"{name}{number}", name)
        bench.obey()
    return bench.held()


@pytest.mark.parametrize("rebalance", ["sticky", "adjust"])
def test_the_order_of_arrival_does_not_matter_where_all_want_all(rebalance: str) -> None:
    found = [_orders(rebalance, seed) for seed in range(8)]
    assert all(held == found[0] for held in found)
    assert found[0] == {"A": 5, "B1": 3, "B2": 5, "C": 5}


def _units(rebalance: str, order: list[str]) -> dict[str, int]:
    """Two of three consumers want more than their plan."""
    wants = {"A": 2, "B": 10, "C": 10}
    rows = [{"name": "A", "share": 2}, {"name": "B"}, {"name": "C", "share": 3}]
    bench = Bench(rows, {"slots": 12}, rebalance=rebalance)
    for name in order:
        for number in range(wants[name]):
            bench.ask(f"{name}{number}", name)
            bench.obey()
    return bench.held()


def test_adjust_forgets_who_came_first_and_sticky_does_not() -> None:
    one, two = ["A", "B", "C"], ["C", "B", "A"]
    assert _units("adjust", one) == _units("adjust", two)
    first, second = _units("sticky", one), _units("sticky", two)
    assert sum(first.values()) == sum(second.values()) == 12
    for held in (first, second):
        assert held["A"] == 2
        assert held["B"] >= 2
        assert held["C"] >= 6


@pytest.mark.parametrize("seed", range(12))
def test_resubmitted_victims_come_to_rest(seed: int) -> None:
    """I11: everybody wants everything and never gives up; reclaims end all the same."""
    random = Random(seed)
    rows = [{"name": name, "share": random.randint(1, 4)} for name in ("A", "B", "C", "D")]
    bench = Bench(rows, {"slots": 13}, rebalance=random.choice(["sticky", "adjust"]))
    reclaims = 0
    for number in range(40):
        name = random.choice(["A", "B", "C", "D"])
        bench.do(Request(f"p{number}", name, {"slots": random.randint(1, 4)}))
        for _ in range(100):
            forced = bench.events(EventType.FORCED)
            if not forced:
                break
            reclaims += 1
            for event in forced:
                for row in event.fields["strict"]:
                    bench.do(Release(row["id"], autoadjust=False))
        else:
            pytest.fail("reclaims do not come to rest")
    assert reclaims < 120
