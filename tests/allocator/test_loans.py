"""The loan graph: its edges by the plan's rules, and its flow against brute force."""

from collections.abc import Mapping, Sequence
from itertools import chain, combinations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.allocator.loans import Loans, Party, edges_of, may_lend, restricted, saturable

Graph = tuple[dict[str, int], dict[str, int], dict[str, tuple[str, ...]]]


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(names, n) for n in range(len(names) + 1)))


def greatest_flow(graph: Graph) -> int:
    """By the theorem of cuts: the least over all sets of borrowers; 2^leaves sums."""
    sources, sinks, edges = graph
    cuts = []
    for chosen in subsets(list(sources)):
        near = {lender for borrower in chosen for lender in edges.get(borrower, ())}
        outside = sum(amount for name, amount in sources.items() if name not in chosen)
        cuts.append(outside + sum(sinks.get(lender, 0) for lender in near))
    return min(cuts)


def fundable_by_trying(graph: Graph) -> bool:
    """Every unit of every borrower tries every lender."""
    sources, sinks, edges = graph
    units = [name for name, amount in sources.items() for _ in range(amount)]
    for choice in product(*(edges.get(name, ()) for name in units)):
        if all(choice.count(lender) <= sinks.get(lender, 0) for lender in set(choice)):
            return True
    return False


def assert_funded(graph: Graph, loans: Loans) -> None:
    sources, sinks, edges = graph
    for name, amount in sources.items():
        funded = sum(it[2] for it in loans.pairs if it[0] == name)
        assert funded + dict(loans.unfunded).get(name, 0) == amount
    for name in sinks:
        assert sum(it[2] for it in loans.pairs if it[1] == name) <= sinks[name]
    assert all(lender in edges[borrower] and n > 0 for borrower, lender, n in loans.pairs)
    order = [(b, lender) for b in sources for lender in edges.get(b, ())]
    pairs = [(b, lender) for b, lender, _ in loans.pairs]
    assert pairs == sorted(pairs, key=order.index)


def random_graph(random: Random, leaves: int, most: int) -> Graph:
    names = [f"c{i}" for i in range(leaves)]
    cut = random.randint(0, leaves)
    sources = {name: random.randint(0, most) for name in names[:cut]}
    sinks = {name: random.randint(0, most) for name in names[cut:]}
    density = random.random()
    edges = {b: tuple(lender for lender in sinks if random.random() < density) for b in sources}
    return sources, sinks, edges


def test_six_leaves_against_all_cuts() -> None:
    random = Random(6)
    verdicts = []
    for _ in range(8000):
        graph = random_graph(random, random.randint(0, 6), random.choice([1, 3, 10**12]))
        loans = saturable(*graph)
        assert_funded(graph, loans)
        assert sum(it[2] for it in loans.pairs) == greatest_flow(graph)
        verdicts.append(loans.legal)
        assert saturable(*graph) == loans
    assert 1000 < sum(verdicts) < 7000


def test_six_leaves_against_trying_everything() -> None:
    random = Random(9)
    for _ in range(3000):
        graph = random_graph(random, random.randint(0, 6), 2)
        assert saturable(*graph).legal == fundable_by_trying(graph)


def test_without_restrictions_it_is_a_comparison_of_sums() -> None:
    random = Random(3)
    for _ in range(500):
        sources, sinks, _ = random_graph(random, 6, 5)
        edges = {borrower: tuple(sinks) for borrower in sources}
        assert saturable(sources, sinks, edges).legal == (
            sum(sources.values()) <= sum(sinks.values())
        )


def test_a_way_through_other_loans_is_found() -> None:
    sources = {"a": 2, "b": 2, "c": 2}
    sinks = {"x": 2, "y": 2, "z": 2}
    edges = {"a": ("x", "y"), "b": ("y", "z"), "c": ("x",)}
    assert saturable(sources, sinks, edges) == Loans(
        (("a", "y", 2), ("b", "z", 2), ("c", "x", 2)), ()
    )


def test_what_nobody_may_lend_is_named() -> None:
    loans = saturable({"a": 3, "b": 1}, {"x": 2}, {"a": ("x", "unknown")})
    assert not loans.legal
    assert loans.pairs == (("a", "x", 2),)
    assert loans.unfunded == (("a", 1), ("b", 1))


def test_large_restricted_graphs_stay_quick() -> None:
    names = [f"c{i}" for i in range(300)]
    sources = dict.fromkeys(names[:150], 7)
    sinks = dict.fromkeys(names[150:], 7)
    edges = {b: tuple(list(sinks)[max(0, i - 3) : i + 1]) for i, b in enumerate(sources)}
    assert saturable(sources, sinks, edges).legal


@pytest.mark.parametrize(
    ("borrower", "lender", "allowed"),
    [
        (Party("b"), Party("l"), True),
        (Party("b"), Party("b"), False),
        (Party("b"), Party("l", lend_to=frozenset()), False),
        (Party("b"), Party("l", lend_to=frozenset({"b"})), True),
        (Party("b", borrow_from=frozenset({"m"})), Party("l"), False),
        (Party("b", borrow_from=frozenset({"l"})), Party("l"), True),
        (Party("b", grace=30), Party("l", lendout_grace=30), True),
        (Party("b", grace=31), Party("l", lendout_grace=30), False),
        (Party("b", grace=1), Party("l", lendout_grace=0), False),
        (Party("b", ancestors=("p",)), Party("p", pool=True), True),
        (Party("b", ancestors=("q", "p")), Party("p", pool=True), True),
        (Party("b", ancestors=("q",)), Party("p", pool=True), False),
        (Party("b", ("p",), borrow_from=frozenset({"l"})), Party("p", pool=True), True),
        (Party("b", ("p",), grace=9), Party("p", pool=True, lendout_grace=5), False),
    ],
)
def test_who_may_lend_to_whom(borrower: Party, lender: Party, allowed: bool) -> None:
    assert may_lend(borrower, lender) is allowed
    assert edges_of([borrower], [lender]) == {borrower.name: (lender.name,) if allowed else ()}


def test_restrictions_are_seen() -> None:
    assert not restricted([Party("a", grace=5), Party("b")])
    for party in (
        Party("p", pool=True),
        Party("a", lend_to=frozenset()),
        Party("a", borrow_from=frozenset({"b"})),
        Party("a", lendout_grace=0),
    ):
        assert restricted([Party("b"), party])


parties = st.builds(
    Party,
    name=st.sampled_from("abcdef"),
    ancestors=st.sampled_from([(), ("p",), ("p", "q")]),
    lend_to=st.none() | st.frozensets(st.sampled_from("abcdef")),
    borrow_from=st.none() | st.frozensets(st.sampled_from("abcdef")),
    grace=st.integers(0, 3),
    lendout_grace=st.none() | st.integers(0, 3),
)


@given(
    st.lists(st.tuples(parties, st.integers(0, 4)), max_size=6, unique_by=lambda it: it[0].name),
    st.integers(0, 6),
    st.integers(0, 3),
)
@settings(max_examples=300)
def test_the_flow_of_a_plan_is_the_greatest(
    drawn: list[tuple[Party, int]], cut: int, kept: int
) -> None:
    borrowers, lenders = drawn[:cut], [*drawn[cut:], (Party("p", pool=True), kept)]
    sources: Mapping[str, int] = {party.name: amount for party, amount in borrowers}
    sinks = {party.name: amount for party, amount in lenders}
    edges = edges_of([it[0] for it in borrowers], [it[0] for it in lenders])
    graph = dict(sources), sinks, edges
    loans = saturable(*graph)
    assert_funded(graph, loans)
    assert sum(it[2] for it in loans.pairs) == greatest_flow(graph)
