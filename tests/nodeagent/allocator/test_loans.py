"""The loan graph: its flow, and the loans of whole plans, against brute force."""

from collections.abc import Sequence
from itertools import chain, combinations, product
from random import Random

from nodeagent.allocator.plan.consumer import Circle, Consumer, Mode, Partners, Rebalance
from nodeagent.allocator.tree.deserved import Entitlement, entitle
from nodeagent.allocator.tree.lending import covered, lending_of, loans
from nodeagent.allocator.tree.loans import Loans, saturable
from nodeagent.allocator.tree.tree import Tree, grow

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


def assert_funded(graph: Graph, found: Loans) -> None:
    sources, sinks, edges = graph
    for name, amount in sources.items():
        funded = sum(it[2] for it in found.pairs if it[0] == name)
        assert funded + dict(found.unfunded).get(name, 0) == amount
    for name in sinks:
        assert sum(it[2] for it in found.pairs if it[1] == name) <= sinks[name]
    assert all(lender in edges[borrower] and n > 0 for borrower, lender, n in found.pairs)
    order = [(b, lender) for b in sources for lender in edges.get(b, ())]
    pairs = [(b, lender) for b, lender, _ in found.pairs]
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
        found = saturable(*graph)
        assert_funded(graph, found)
        assert sum(it[2] for it in found.pairs) == greatest_flow(graph)
        verdicts.append(found.legal)
        assert saturable(*graph) == found
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
    found = saturable({"a": 3, "b": 1}, {"x": 2}, {"a": ("x", "unknown")})
    assert not found.legal
    assert found.pairs == (("a", "x", 2),)
    assert found.unfunded == (("a", 1), ("b", 1))


def test_large_restricted_graphs_stay_quick() -> None:
    names = [f"c{i}" for i in range(300)]
    sources = dict.fromkeys(names[:150], 7)
    sinks = dict.fromkeys(names[150:], 7)
    edges = {b: tuple(list(sinks)[max(0, i - 3) : i + 1]) for i, b in enumerate(sources)}
    assert saturable(sources, sinks, edges).legal


def random_circle(random: Random) -> Partners:
    names = frozenset(name for name in "abcdef" if random.random() < 0.5)
    return random.choice([Circle.ANY, Circle.ANY, Circle.NONE, names, names])


def random_tree(random: Random) -> Tree:
    """Up to six leaves, at the root and below one inner consumer."""
    leaves = [
        Consumer(
            name,
            own={"r": random.randint(0, 4)},
            share=random.randint(0, 2),
            reserve={"r": random.randint(0, 1)},
            lend_to=random_circle(random),
            borrow_from=random_circle(random),
            grace=random.choice([0, 1000, 2000]),
            lendout_grace=random.choice([None, None, 0, 1000]),
        )
        for name in "abcdef"[: random.randint(1, 6)]
    ]
    cut = random.randint(0, len(leaves))
    inner = Consumer("inner", own={"r": random.randint(0, 9)}, children=tuple(leaves[cut:]))
    top = (*leaves[:cut], inner) if leaves[cut:] else tuple(leaves)
    return grow(top, Rebalance.STICKY)


def plain_graph(tree: Tree, entitlement: Entitlement, usage: Sequence[int]) -> Graph:
    """2.9 of the semantics word by word."""
    plan, kept = entitlement.deserved, entitlement.hold
    one = tree.consumers
    sources = {one[b].name: usage[b] - plan[b] for b in tree.leaves if usage[b] > plan[b]}
    sinks = {one[le].name: max(0, plan[le] - max(usage[le], kept[le])) for le in tree.leaves}
    for node in tree.inner:
        sinks[one[node].name] = plan[node] - sum(plan[child] for child in tree.children[node])
    edges = {
        one[b].name: tuple(
            [one[le].name for le in tree.leaves if le != b and agreed(one[b], one[le])]
            + [one[node].name for node in tree.inner if node in tree.paths[b]]
        )
        for b in tree.leaves
    }
    return sources, sinks, edges


def agreed(borrower: Consumer, lender: Consumer) -> bool:
    def names(circle: Partners, name: str) -> bool:
        return circle is Circle.ANY or (isinstance(circle, frozenset) and name in circle)

    patient = lender.lendout_grace is None or borrower.grace <= lender.lendout_grace
    lends, borrows = names(lender.lend_to, borrower.name), names(borrower.borrow_from, lender.name)
    return lends and borrows and patient


def test_the_loans_of_plans_against_all_cuts() -> None:
    random = Random(12)
    verdicts = []
    for _ in range(5000):
        tree = random_tree(random)
        entitlement = entitle(tree, "r", random.randint(0, 14), random.choice(list(Mode)))
        usage = [0] * len(tree.parents)
        for leaf in tree.leaves:
            usage[leaf] = random.choice([0, 0, random.randint(0, 6)])
        verdicts.append(check_plan(tree, entitlement, usage))
    assert 1000 < sum(verdicts) < 4500


def check_plan(tree: Tree, entitlement: Entitlement, usage: Sequence[int]) -> bool:
    graph = plain_graph(tree, entitlement, usage)
    found = loans(tree, lending_of(tree), entitlement, usage)
    assert found.legal == (greatest_flow(graph) == sum(graph[0].values()))
    lending = lending_of(tree)
    if lending.restricted:
        assert covered(tree, lending, entitlement, usage) == found.legal
    for name, amount in graph[0].items():
        lent = sum(it[2] for it in found.pairs if it[0] == name)
        assert lent + dict(found.unfunded).get(name, 0) == amount
    assert all(lender in graph[2][borrower] for borrower, lender, _ in found.pairs)
    return found.legal
