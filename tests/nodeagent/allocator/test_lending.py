"""Loans between named partners: who may use whose idle units, and who gives them back."""

from typing import Any

import pytest

from nodeagent.allocator.status import loan_rows
from nodeagent.allocator.tree.lending import lending_of
from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import Release
from tests.nodeagent.allocator.invariants import check_all
from tests.nodeagent.allocator.plans import Bench


def rows(**more: dict[str, Any]) -> list[dict[str, Any]]:
    """Four owners of three slots each."""
    return [{"name": name, "own": {"slots": 3}, **more.get(name, {})} for name in "ABCD"]


def loans(bench: Bench) -> set[tuple[str, str, int]]:
    return {(row["borrower"], row["lender"], row["amount"]) for row in loan_rows(bench.allocator)}


def test_without_restrictions_the_graph_is_not_asked() -> None:
    bench = Bench(rows(), {"slots": 12})
    assert not bench.allocator.pools["default"].lending.restricted
    closed = Bench(rows(A={"lendTo": ["B"]}), {"slots": 12})
    assert lending_of(closed.allocator.pools["default"].tree).restricted


def test_a_named_lender_lends_to_nobody_else() -> None:
    bench = Bench(
        rows(A={"lendTo": ["B"]}, C={"lendTo": "none"}, D={"lendTo": "none"}), {"slots": 12}
    )
    bench.ask_units("b", "B", 8)
    assert bench.held() == {"B": 6}
    assert loans(bench) == {("B", "A", 3)}
    bench.ask_units("d", "D", 5)
    assert bench.held() == {"B": 6, "D": 3}
    check_all(bench.allocator)


def test_a_borrower_takes_from_named_lenders_only() -> None:
    bench = Bench(rows(B={"borrowFrom": ["C"]}), {"slots": 12})
    bench.ask_units("b", "B", 8)
    assert bench.held() == {"B": 6}
    assert loans(bench) == {("B", "C", 3)}


def test_an_owner_takes_back_from_whom_it_lent_to() -> None:
    """D borrows from C and B from A; A's return costs B, though D is as much above its plan."""
    bench = Bench(
        rows(A={"lendTo": ["B"]}, C={"lendTo": ["D"]}, B={"lendTo": "none"}, D={"lendTo": "none"}),
        {"slots": 12},
    )
    bench.ask_units("d", "D", 6)
    bench.ask_units("b", "B", 6)
    bench.ask_units("a", "A", 2)
    assert bench.held() == {"A": 2, "B": 4, "D": 6}
    bench.ask_units("c", "C", 3)
    assert bench.held() == {"A": 2, "B": 4, "C": 3, "D": 3}
    check_all(bench.allocator)


def test_units_that_are_free_but_not_lent_stay_free() -> None:
    """A owns what B uses; D's idle units may not stand in for A's, so A must claim its own."""
    bench = Bench(rows(C={"lendTo": "none"}, D={"lendTo": "none"}), {"slots": 12})
    bench.ask_units("b", "B", 6)
    assert bench.ask("a", "A", 1) == "RECLAIMING"
    bench.obey()
    assert bench.held() == {"A": 1, "B": 5}
    check_all(bench.allocator)


@pytest.mark.parametrize(("grace", "held"), [("10s", 6), ("11s", 3)])
def test_a_lender_takes_only_borrowers_it_can_wait_for(grace: str, held: int) -> None:
    some = {name: {"lendoutGrace": "10s"} for name in "AC"}
    bench = Bench(rows(B={"grace": grace}, D={"lendTo": "none"}, **some), {"slots": 12})
    bench.ask_units("b", "B", 6)
    assert bench.held() == {"B": held}


def test_a_private_pool_is_for_descendants() -> None:
    """In ownership mode what a parent keeps is its children's to borrow, and nobody else's."""
    tree = [
        {
            "name": "P",
            "own": {"slots": 6},
            "consumers": [
                {"name": "P1", "own": {"slots": 2}, "borrowFrom": "any"},
                {"name": "P2", "own": {"slots": 2}, "borrowFrom": "any"},
            ],
        },
        {"name": "Q", "own": {"slots": 4}, "borrowFrom": "any"},
    ]
    bench = Bench(tree, {"slots": 10}, mode="ownership")
    bench.ask_units("q", "Q", 6)
    bench.ask_units("p", "P1", 6)
    assert bench.held() == {"Q": 4, "P1": 4}
    assert loans(bench) == {("P1", "P", 2)}
    bench.do(Release("q0"))
    assert not bench.events(EventType.RECLAIM_NOTICE)
