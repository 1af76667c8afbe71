"""The flow in the loan graph: whether all loans can be funded, and by whom they are.

Sources are leaves above plan, sinks are leaves and private pools below it (semantics 2.9); a state
is legal when the maximum flow carries everything that is borrowed. Greedy lending alone would not
find it: a borrower with one lender may find that lender taken by one that has others.

This is Edmonds and Karp's method, shortest augmenting paths by breadth first search, so the number
of steps depends on the number of leaves and not on the amounts, which are bytes.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Edges = Mapping[str, Sequence[str]]
"""Borrower to the lenders it may use, in the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class Loans:
    """Which loans fund what is borrowed.

    `pairs` has (borrower, lender, amount > 0) in the order of the sources, then of their edges. If
    not `legal`, `unfunded` says how much of which borrower's excess nobody may lend.
    """

    pairs: tuple[tuple[str, str, int], ...]
    unfunded: tuple[tuple[str, int], ...]

    @property
    def legal(self) -> bool:
        """Whether everything borrowed is lent by somebody."""
        return not self.unfunded


def saturable(sources: Mapping[str, int], sinks: Mapping[str, int], edges: Edges) -> Loans:
    """Fund the sources' amounts from the sinks' along the edges, as far as possible.

    Amounts are base units, not negative. Deterministic: it depends on the order of the mappings
    and of the edges and on nothing else. Lenders without an amount lend nothing.
    """
    flow = _Flow(sources, sinks, edges)
    for borrower in sources:
        flow.fund_directly(borrower)
    for borrower in sources:
        while flow.wanted[borrower] and flow.augment(borrower):
            pass
    return flow.loans()


# Why lending greedily is not enough: x may use l and m, y only l; each borrows 1, l and m have 1.
#
#      x ──► l        x is asked first and takes l. y finds l taken. A way from y: to l, over to x
#      │ ╲  ╱         who holds it, and from x on to m, which has 1 left. Pushing 1 along it makes
#      ▼   y          x use m and y use l: `_way` finds such ways, `_push` takes the loans over.
#      m


class _Flow:
    """A flow being improved. A leaf may be named as a borrower and as a lender: two nodes here."""

    def __init__(self, sources: Mapping[str, int], sinks: Mapping[str, int], edges: Edges) -> None:
        self.wanted = dict(sources)
        self.left = dict(sinks)
        # Borrowers of one class share one row object; it is filtered once.
        rows = {id(row): row for row in edges.values()}
        open_rows = {
            key: [lender for lender in row if sinks.get(lender, 0)] for key, row in rows.items()
        }
        self.lenders = {
            borrower: open_rows[id(edges[borrower])] if borrower in edges else []
            for borrower in sources
        }
        self.lent: dict[str, dict[str, int]] = {lender: {} for lender in sinks}

    def fund_directly(self, borrower: str) -> None:
        """Lend in the order of the edges while there is something: nearly all of the flow."""
        for lender in self.lenders[borrower]:
            if not self.wanted[borrower]:
                return
            if amount := min(self.wanted[borrower], self.left[lender]):
                self._lend(lender, borrower, amount)
                self.wanted[borrower] -= amount
                self.left[lender] -= amount

    def _lend(self, lender: str, borrower: str, amount: int) -> None:
        lent = self.lent[lender]
        lent[borrower] = lent.get(borrower, 0) + amount
        if not lent[borrower]:
            del lent[borrower]

    def augment(self, borrower: str) -> bool:
        """Push more along a shortest way of loans taken over; False if there is none."""
        way = self._way(borrower)
        if way is None:
            return False
        taken_over = [self.lent[lender][other] for (_, lender), (other, _) in pairwise(way)]
        amount = min(self.wanted[borrower], self.left[way[-1][1]], *taken_over)
        self._push(way, amount)
        return True

    def _push(self, way: list[tuple[str, str]], amount: int) -> None:
        for index, (taker, lender) in enumerate(way):
            self._lend(lender, taker, amount)
            if index + 1 < len(way):
                self._lend(lender, way[index + 1][0], -amount)
        self.wanted[way[0][0]] -= amount
        self.left[way[-1][1]] -= amount

    def _way(self, borrower: str) -> list[tuple[str, str]] | None:
        """Pairs (taker, lender): each lender's loan passes from the next pair's taker to this one.

        Breadth first, so the number of improvements does not depend on the amounts.
        """
        reached: dict[str, str] = {}
        came: dict[str, str | None] = {borrower: None}
        queue = deque([borrower])
        while queue:
            taker = queue.popleft()
            for lender in self.lenders[taker]:
                if lender in reached:
                    continue
                reached[lender] = taker
                if self.left[lender]:
                    return _trace(lender, reached, came)
                for other in self.lent[lender]:
                    if other not in came:
                        came[other] = lender
                        queue.append(other)
        return None

    def loans(self) -> Loans:
        pairs = tuple(
            (borrower, lender, self.lent[lender][borrower])
            for borrower, lenders in self.lenders.items()
            for lender in lenders
            if borrower in self.lent[lender]
        )
        unfunded = tuple((name, amount) for name, amount in self.wanted.items() if amount)
        return Loans(pairs, unfunded)


def _trace(
    lender: str, reached: Mapping[str, str], came: Mapping[str, str | None]
) -> list[tuple[str, str]]:
    way = []
    step: str | None = lender
    while step is not None:
        taker = reached[step]
        way.append((taker, step))
        step = came[taker]
    return way[::-1]
