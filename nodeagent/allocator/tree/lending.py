"""Who may lend to whom, and whether permitted loans cover a usage (semantics 2.9).

Without restrictions that is the same as fitting in the capacity: Σ borrowed ≤ Σ idle is then a
comparison of sums. So the loan graph is asked only where a restriction exists: a list, a closed
circle, or a lender that does not wait as long as the borrower's grace. A whole flow for every
admission costs many times the admission itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nodeagent.allocator.plan.consumer import Circle, Consumer, Partners
from nodeagent.allocator.tree.deserved import Entitlement
from nodeagent.allocator.tree.loans import Loans, saturable
from nodeagent.allocator.tree.tree import Tree


@dataclass(frozen=True, slots=True)
class Lending:
    """The permitted loans of a tree: `lenders[b]` are the leaves that leaf b may borrow from.

    The rules treat leaves of one class alike: `borrowing` and `lending` have the class of each
    leaf, `circles` the classes of lenders that a class of borrowers may use. A plan has few
    classes, which makes the graph small however many leaves there are.
    """

    restricted: bool
    lenders: Mapping[int, tuple[int, ...]]
    borrowing: Mapping[int, int] = field(default_factory=dict)
    lending: Mapping[int, int] = field(default_factory=dict)
    circles: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def lending_of(tree: Tree) -> Lending:
    """The permitted loans of every leaf, lenders in tree order."""
    consumers = tree.consumers
    if all(_open(consumers[leaf]) for leaf in tree.leaves):
        return Lending(False, {})
    permitted = {
        borrower: tuple(
            lender for lender in tree.leaves if may_lend(consumers[lender], consumers[borrower])
        )
        for borrower in tree.leaves
    }
    lenders = {
        borrower: tuple(lender for lender in row if lender != borrower)
        for borrower, row in permitted.items()
    }
    # Lists may permit everything after all, such as a list of all other leaves.
    every = len(tree.leaves) - 1
    restricted = any(len(rows) < every for rows in lenders.values())
    return Lending(restricted, lenders, *_classes(permitted))


def _classes(
    permitted: Mapping[int, tuple[int, ...]],
) -> tuple[dict[int, int], dict[int, int], dict[int, tuple[int, ...]]]:
    """The class of each leaf as a borrower and as a lender, and which classes may use which.

    A leaf that borrows has nothing to lend, so whether it may lend to itself does not matter;
    counting it among its own lenders makes leaves alike that differ in nothing else.
    """
    borrowers: dict[int, list[int]] = {leaf: [] for leaf in permitted}
    for borrower, row in permitted.items():
        for lender in row:
            borrowers[lender].append(borrower)
    numbers: dict[tuple[int, ...], int] = {}
    borrowing = {leaf: numbers.setdefault(row, len(numbers)) for leaf, row in permitted.items()}
    other: dict[tuple[int, ...], int] = {}
    lending = {leaf: other.setdefault(tuple(row), len(other)) for leaf, row in borrowers.items()}
    circles = {
        number: tuple(sorted({lending[lender] for lender in row}))
        for row, number in numbers.items()
    }
    return borrowing, lending, circles


def _open(consumer: Consumer) -> bool:
    """Whether a leaf lends to and borrows from everybody, whatever their grace."""
    anybody = consumer.lend_to is Circle.ANY and consumer.borrow_from is Circle.ANY
    return anybody and consumer.lendout_grace is None


def may_lend(lender: Consumer, borrower: Consumer) -> bool:
    """Whether both agree and the borrower's grace is one that the lender can wait."""
    agreed = _names(lender.lend_to, borrower.name) and _names(borrower.borrow_from, lender.name)
    return agreed and (lender.lendout_grace is None or borrower.grace <= lender.lendout_grace)


def _names(partners: Partners, name: str) -> bool:
    if isinstance(partners, Circle):
        return partners is Circle.ANY
    return name in partners


# The graph for one resource, and the same by classes. `a` and `b` may borrow from everybody, `c`
# from `l` alone; p is an ancestor of `a` with a private pool.
#
#    a ──► pool p                      {a} ────► pool p
#    a, b ──► l, m        becomes      {a},{b} ► {l}, {m}      `a` and `b` differ in the pools
#    c ──► l                           {c} ────► {l}           above them, `l` and `m` in who
#                                                              may use them
#
# On a plan of 125 leaves with one list in it that is a handful of nodes instead of 125.


def covered(tree: Tree, lending: Lending, entitlement: Entitlement, usage: Sequence[int]) -> bool:
    """Whether permitted loans cover all borrowing: the same as `loans(…).legal`, found out sooner.

    Leaves that the rules treat alike are one node of the graph, which changes no greatest flow.
    """
    deserved, hold, private_pools = (
        entitlement.deserved,
        entitlement.hold,
        entitlement.private_pools,
    )
    # Sums by class: a leaf's rights do not depend on which of its class has borrowed, and a flow
    # between sums exists exactly if one between the leaves does.
    sources: dict[tuple[int, tuple[int, ...]], int] = {}
    idle: dict[int, int] = {}
    for leaf in tree.leaves:
        plan, used = deserved[leaf], usage[leaf]
        if used > plan:
            pools = (
                tuple(node for node in tree.paths[leaf][1:] if node in private_pools)
                if private_pools
                else ()
            )
            key = (lending.borrowing[leaf], pools)
            sources[key] = sources.get(key, 0) + used - plan
        # A leaf lends what it does not use of its plan, but never its reserve.
        elif plan > used and plan > hold[leaf]:
            circle = lending.lending[leaf]
            idle[circle] = idle.get(circle, 0) + plan - max(used, hold[leaf])
    return not sources or _flows(lending, sources, idle, private_pools)


def _flows(
    lending: Lending,
    sources: Mapping[tuple[int, tuple[int, ...]], int],
    idle: Mapping[int, int],
    private_pools: Mapping[int, int],
) -> bool:
    """Whether lenders have what these borrowers, keyed by (class, pools above), use above plan."""
    sinks = {f"pool {node}": amount for node, amount in private_pools.items()}
    sinks |= {f"lender {circle}": amount for circle, amount in idle.items()}
    edges = {
        str(key): [f"pool {node}" for node in key[1]]
        + [f"lender {each}" for each in lending.circles[key[0]]]
        for key in sources
    }
    return saturable({str(key): amount for key, amount in sources.items()}, sinks, edges).legal


def loans(tree: Tree, lending: Lending, entitlement: Entitlement, usage: Sequence[int]) -> Loans:
    """The loans of one resource, given what each leaf uses; `.legal` if they cover all borrowing.

    Lenders are leaves that use less than their plan, reserves excepted, and the parts of an inner
    consumer's plan that no child was given, which only its descendants may borrow.
    """
    deserved, hold = entitlement.deserved, entitlement.hold
    sources, sinks = {}, {}
    for leaf in tree.leaves:
        name = tree.consumers[leaf].name
        if usage[leaf] > deserved[leaf]:
            sources[name] = usage[leaf] - deserved[leaf]
        idle = deserved[leaf] - max(usage[leaf], hold[leaf])
        if idle > 0:
            sinks[name] = idle
    for node, amount in entitlement.private_pools.items():
        sinks[tree.consumers[node].name] = amount
    edges: dict[str, list[str]] = {}
    alike: dict[tuple[int, tuple[int, ...]], list[str]] = {}
    for leaf in tree.leaves:
        name = tree.consumers[leaf].name
        if name in sources:
            pools = tuple(
                node for node in tree.paths[leaf][1:] if node in entitlement.private_pools
            )
            key = (lending.borrowing.get(leaf, 0), pools)
            if key not in alike:
                alike[key] = _edges(tree, lending, leaf, sinks)
            edges[name] = alike[key]
    return saturable(sources, sinks, edges)


def _edges(tree: Tree, lending: Lending, leaf: int, sinks: Mapping[str, int]) -> list[str]:
    """The lenders a borrower may use: its ancestors' pools first, then leaves in tree order.

    A pool first, because what it lends is taken from nobody. The same list for all borrowers of one
    class with the same pools above, as none of them is a lender now.
    """
    pools = [tree.consumers[node].name for node in tree.paths[leaf][1:]]
    permitted = lending.lenders[leaf] if lending.restricted else tree.leaves
    peers = [tree.consumers[lender].name for lender in permitted if lender != leaf]
    return [name for name in pools + peers if name in sinks]
