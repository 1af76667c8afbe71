"""Who may lend to whom, and whether a state of usage is covered by permitted loans.

Without restrictions that is the same as fitting in the capacity, so the loan graph is asked only
where a restriction exists: a list, a closed circle, or a lender that cannot wait so long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nodeagent.allocator.consumer import Circle, Consumer, Partners
from nodeagent.allocator.deserved import Entitlement
from nodeagent.allocator.loans import Loans, saturable
from nodeagent.allocator.tree import Tree


@dataclass(frozen=True, slots=True)
class Lending:
    """The permitted loans of a tree: `lenders[b]` are the leaves that leaf b may borrow from."""

    restricted: bool
    lenders: Mapping[int, tuple[int, ...]]


def lending_of(tree: Tree) -> Lending:
    """The permitted loans of every leaf, lenders in tree order."""
    consumers = tree.consumers
    if all(_open(consumers[leaf], consumers, tree.leaves) for leaf in tree.leaves):
        return Lending(False, {})
    lenders = {
        borrower: tuple(
            lender
            for lender in tree.leaves
            if lender != borrower and may_lend(consumers[lender], consumers[borrower])
        )
        for borrower in tree.leaves
    }
    every = len(tree.leaves) - 1
    return Lending(any(len(rows) < every for rows in lenders.values()), lenders)


def _open(consumer: Consumer, consumers: Sequence[Consumer], leaves: Sequence[int]) -> bool:
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
    for node in tree.inner:
        spare = deserved[node] - sum(deserved[child] for child in tree.children[node])
        if spare > 0:
            sinks[tree.consumers[node].name] = spare
    edges = {
        tree.consumers[leaf].name: _edges(tree, lending, leaf, sinks)
        for leaf in tree.leaves
        if tree.consumers[leaf].name in sources
    }
    return saturable(sources, sinks, edges)


def _edges(tree: Tree, lending: Lending, leaf: int, sinks: Mapping[str, int]) -> list[str]:
    """The lenders a borrower may use: its ancestors' pools first, then leaves in tree order."""
    pools = [tree.consumers[node].name for node in tree.paths[leaf][1:]]
    permitted = lending.lenders[leaf] if lending.restricted else tree.leaves
    peers = [tree.consumers[lender].name for lender in permitted if lender != leaf]
    return [name for name in pools + peers if name in sinks]
