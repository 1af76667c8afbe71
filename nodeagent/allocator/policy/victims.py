"""Choosing what borrowers give back for a claim: taken in order, then filled back (semantics 2.7).

Candidates come from leaves above their target; they are taken in order while something is short
and the leaf is still above target, then put back latest first while the claim still fits.

- Nobody within plan is a victim (I7): a target is at least the smaller of demand and D*.
- No victim could be left out (I8): each one that stays was tried.
- Putting one back only raises its own leaf's usage, so the other choices stay right.
- In one resource, cutting every leaf to its target frees enough, so a claim that the targets give
  finds its victims unless allocations that are non-preemptible stand in the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from berth.base.quantity import minus, times
from nodeagent.allocator.tree.lending import covered
from nodeagent.allocator.usage.allocation import Allocation
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.usage.usage import Pairs, Usage

Targets = dict[int, list[int]]
"""G per node, by resource index, for the resources that are short."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A part of an allocation that may be taken back; `last`: it cannot run without this one.

    With a `claim`, the id of an open one, it is not running yet: the units of that claim.
    """

    allocation: Allocation
    vector: dict[str, int]
    pairs: Pairs
    last: bool
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Bound:
    """What must hold for a claim to fit: U of a node in one resource is `most` at most."""

    resource: int
    node: int
    most: int


@dataclass(slots=True)
class Trial:
    """The usage as it would be after the cuts so far, a copy to try on.

    `loans_of` are the resources in which permitted loans must cover all borrowing.
    """

    pool: Pool
    usage: Usage
    bounds: Sequence[Bound]
    loans_of: Sequence[int] = ()
    _path_of: dict[int, frozenset[int]] = field(default_factory=dict)

    def short(self) -> list[Bound]:
        """The bounds that do not hold yet."""
        return [
            bound
            for bound in self.bounds
            if self.usage.upward(bound.resource, bound.node) > bound.most
        ]

    def unfunded(self) -> list[int]:
        """The resources in which somebody borrows without a lender that permits it."""
        pool = self.pool
        return [
            resource
            for resource in self.loans_of
            if not covered(
                pool.tree,
                pool.lending,
                pool.entitlements[resource],
                self.usage.weight[resource],
            )
        ]

    def relieved(self) -> bool:
        """Whether nothing is short any more."""
        return not self.short() and not self.unfunded()


def candidates(pool: Pool, targets: Targets) -> list[Candidate]:
    """What may be taken back from leaves above target, allocation by allocation, unordered."""
    weight = pool.projected.weight
    found: list[Candidate] = []
    for leaf in pool.tree.leaves:
        if any(weight[resource][leaf] > goal[leaf] for resource, goal in targets.items()):
            for allocation in pool.members[leaf].values():
                found += parts_of(pool, allocation, targets)
    return found


def claims_above(
    pool: Pool, allocations: Mapping[str, Allocation], targets: Targets
) -> list[Candidate]:
    """Claims of leaves above target, newest first; to give one up stops nothing that runs."""
    weight = pool.projected.weight
    found = []
    for claim in reversed(pool.claims.values()):
        if not claim.allocation:
            continue
        allocation = allocations[claim.allocation]
        leaf = allocation.leaf
        if any(weight[resource][leaf] > goal[leaf] for resource, goal in targets.items()):
            pairs = pool.pairs(claim.vector)
            found.append(Candidate(allocation, claim.vector, pairs, False, claim.id))
    return found


def parts_of(pool: Pool, allocation: Allocation, targets: Iterable[int]) -> list[Candidate]:
    """The parts in which an allocation can be taken back: surplus units one by one, then the rest.

    None for what is non-preemptible, or holds none of the resources at hand and so cannot help.
    """
    if allocation.firm:
        return []
    left = minus(allocation.held, pool.leaving(allocation.id)) if pool.claims else allocation.held
    names = {pool.resources[resource] for resource in targets}
    if not any(left.get(name) for name in names):
        return []
    vectors: list[tuple[dict[str, int], bool]] = []
    # An elastic allocation shrinks unit by unit and runs on, down to its minimum; what is below
    # that it cannot run with, so it is one part.
    if allocation.elastic:
        surplus = minus(left, allocation.least_vector())
        steps = [
            surplus.get(name, 0) // amount for name, amount in allocation.unit.items() if amount
        ]
        vectors = [(times(allocation.unit, 1), False)] * min(steps, default=0)
    rest = left
    for vector, _ in vectors:
        rest = minus(rest, vector)
    vectors.append((dict(rest), True))
    return [
        Candidate(allocation, vector, pool.pairs(vector), last)
        for vector, last in vectors
        if vector
    ]


# Taking and filling back, in one resource. A claim is short of 4; x and y are above target:
#
#    order               x1 (size 1)   y1 (size 2)   y2 (size 4)
#    taken               x1  frees 1   y1  frees 3   y2  frees 7, enough
#    filled back, from   y2: short of 1 without it, stays    y1: 5 is enough, put back
#    the last on         x1: 4 is enough, put back           victims: y2 alone
#
# The order decides who is looked at first, need decides who stays.


def choose(
    trial: Trial, ordered_candidates: Sequence[Candidate], targets: Targets
) -> list[Candidate] | None:
    """The candidates that must go for the trial to fit; None if all of them do not suffice.

    The last one taken may bring its leaf below target: an allocation is not divisible, and any
    borrowed part makes all of it revocable.
    """
    taken: list[Candidate] = []
    for candidate in ordered_candidates:
        short = trial.short()
        if not short and not trial.unfunded():
            return _fill_back(trial, taken)
        if _helps(trial, candidate, short, targets):
            trial.usage.post(candidate.allocation.leaf, candidate.pairs, -1)
            taken.append(candidate)
    if not trial.relieved():
        return None
    return _fill_back(trial, taken)


def _helps(trial: Trial, candidate: Candidate, short: list[Bound], targets: Targets) -> bool:
    """Whether its leaf is above target in something short, under a node where it is short."""
    leaf, weight = candidate.allocation.leaf, trial.usage.weight
    path = trial.pool.tree.paths[leaf]
    held = {resource for resource, _ in candidate.pairs}
    for bound in short:
        resource = bound.resource
        above = weight[resource][leaf] > targets[resource][leaf]
        if above and resource in held and bound.node in path:
            return True
    # Bounds first, loans after: cutting for loans alone while a bound is exceeded would take units
    # that the cuts for the bound may free anyway.
    if short:
        return False
    return any(
        resource in held and weight[resource][leaf] > targets[resource][leaf]
        for resource in trial.unfunded()
    )


def _fill_back(trial: Trial, taken: list[Candidate]) -> list[Candidate]:
    """Put back what turned out not to be needed, latest first; the rest in the order taken.

    A small victim taken early may be made needless by a large one taken later.
    """
    gone: set[str] = set()
    kept: list[Candidate] = []
    for candidate in reversed(taken):
        allocation = candidate.allocation
        # A surplus unit cannot stay with an allocation whose last part goes.
        if candidate.claim or allocation.id not in gone:
            trial.usage.post(allocation.leaf, candidate.pairs)
            if trial.relieved():
                continue
            trial.usage.post(allocation.leaf, candidate.pairs, -1)
            if candidate.last:
                gone.add(allocation.id)
        kept.append(candidate)
    kept.reverse()
    return kept
