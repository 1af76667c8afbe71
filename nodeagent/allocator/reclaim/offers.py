"""A borrower's offer: other parts than the strict ones, accepted if they serve the claim as well.

The rule is in semantics 2.8. The borrower knows better than the node which of its pods to lose.
"""

from collections.abc import Iterable

from berth.base.quantity import Vector, covers, minus, ordered, plus
from nodeagent.allocator.reclaim.notices import listed, refresh_state, withdraw
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.allocation import State
from nodeagent.allocator.usage.claim import Notice
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.usage.usage import Pairs
from nodeagent.allocator.values.event import EventType


def offer(
    pool: Pool,
    transaction: Transaction,
    notice: Notice,
    entries: Iterable[tuple[str, Vector | None]],
) -> str:
    """Put the offered parts in place of the strict ones; returns why not, empty if it was done."""
    fault, cuts = _read(pool, transaction, notice, entries)
    fault = fault or _exchange(pool, transaction, notice, cuts)
    if fault:
        transaction.emit(
            EventType.OFFER_REJECTED,
            notice=notice.id,
            consumer=notice.consumer,
            group=notice.group,
            reason=fault,
        )
        return fault
    transaction.emit(
        EventType.OFFER_ACCEPTED,
        notice=notice.id,
        consumer=notice.consumer,
        group=notice.group,
        strict=listed(notice.cuts),
    )
    return ""


def _read(
    pool: Pool,
    transaction: Transaction,
    notice: Notice,
    entries: Iterable[tuple[str, Vector | None]],
) -> tuple[str, dict[str, dict[str, int]]]:
    """The first fault found, empty if there is none, and what is offered, as cuts."""
    cuts: dict[str, dict[str, int]] = {}
    if notice.forced:
        return "the deadline has passed", cuts
    for key, vector in entries:
        allocation = transaction.allocations.get(key)
        if allocation is None or allocation.group != notice.group:
            return f"{key} is no allocation", cuts
        if allocation.consumer != notice.consumer:
            return f"{key} belongs to {allocation.consumer}", cuts
        if allocation.firm:
            return f"{key} is non-preemptible", cuts
        # Parts of it that other notices take are not its to offer again.
        others = minus(pool.leaving(key), notice.cuts.get(key, {}))
        left = minus(allocation.held, others)
        part = left if vector is None else {name: more for name, more in vector.items() if more}
        cuts[key] = ordered(plus(cuts.get(key, {}), part))
        if not part or not covers(left, cuts[key]):
            return f"{key} does not hold so much", cuts
    # Its units come free in any case, and are counted on.
    stopping = [key for key in notice.cuts if transaction.allocations[key].state is State.STOPPING]
    if any(cuts.get(key) != notice.cuts[key] for key in stopping):
        return "what is being stopped already must be part of it", cuts
    return "", cuts


def _exchange(
    pool: Pool,
    transaction: Transaction,
    notice: Notice,
    cuts: dict[str, dict[str, int]],
) -> str:
    """Exchange a notice's cuts; returns why not, and then nothing has changed."""
    total: dict[str, int] = {}
    for cut in cuts.values():
        total = plus(total, cut)
    # In the short resources only: giving back more CPU does not make up for a GPU.
    if not covers(total, notice.required):
        return "does not cover what is required"
    # Compared with before, because a bound may be exceeded already where other notices are open.
    before, old = _exceeded(pool, transaction), notice.cuts
    _post(pool, transaction, old, 1)
    _post(pool, transaction, cuts, -1)
    notice.cuts = cuts
    worse = _exceeded(pool, transaction) - before
    if worse or pool.unfunded(0, _nothing(pool)):
        _post(pool, transaction, cuts, 1)
        _post(pool, transaction, old, -1)
        notice.cuts = old
        return "does not make the claim fit"
    for key in {**old, **cuts}:
        allocation = transaction.allocations[key]
        if key in cuts:
            if allocation.claim:
                withdraw(pool, transaction, pool.claims[allocation.claim])
            pool.stop_waiting(allocation)
            if allocation.state is not State.STOPPING:
                allocation.move(State.NOTICED)
        else:
            refresh_state(pool, allocation)
    return ""


def _nothing(pool: Pool) -> Pairs:
    """No units of every resource: asks about usage as it is."""
    return [(resource, 0) for resource in range(len(pool.resources))]


def _post(pool: Pool, transaction: Transaction, cuts: dict[str, dict[str, int]], sign: int) -> None:
    for key, cut in cuts.items():
        pool.projected.post(transaction.allocations[key].leaf, pool.pairs(cut), sign)


def _exceeded(pool: Pool, transaction: Transaction) -> set[tuple[int, int]]:
    """The (resource, node) on the root or a claimant's path that are above their cap."""
    # The root with no claimant counts too: a lost capacity is a claim for nobody.
    leaves = {0}
    for claim in pool.claims.values():
        if claim.allocation:
            leaves.add(transaction.allocations[claim.allocation].leaf)
    return {
        (resource, node)
        for leaf in leaves
        for resource, nodes in pool.projected.exceeded(leaf, _nothing(pool)).items()
        for node in nodes
    }
