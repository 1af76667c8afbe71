"""A borrower's offer: other parts than the strict ones, taken if they serve the claim as well."""

from collections.abc import Iterable

from berth.base.quantity import Vector, covers, minus, ordered, plus
from nodeagent.allocator.reclaim.notices import listed, refresh_state, withdraw
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.allocation import State
from nodeagent.allocator.usage.claim import Claim, Notice
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import EventType


def offer(
    pool: Pool,
    transaction: Transaction,
    claim: Claim,
    notice: Notice,
    entries: Iterable[tuple[str, Vector | None]],
) -> str:
    """Put the offered parts in place of the strict ones; why not, or empty if it was done."""
    fault, cuts = _read(pool, transaction, notice, entries)
    fault = fault or _exchange(pool, transaction, claim, notice, cuts)
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
    """What is offered, as cuts; with the first fault found."""
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
        others = minus(pool.leaving(key), notice.cuts.get(key, {}))
        left = minus(allocation.held, others)
        part = left if vector is None else {name: more for name, more in vector.items() if more}
        cuts[key] = ordered(plus(cuts.get(key, {}), part))
        if not part or not covers(left, cuts[key]):
            return f"{key} does not hold so much", cuts
    stopping = [key for key in notice.cuts if transaction.allocations[key].state is State.STOPPING]
    if any(cuts.get(key) != notice.cuts[key] for key in stopping):
        return "what is being stopped already must be part of it", cuts
    return "", cuts


def _exchange(
    pool: Pool,
    transaction: Transaction,
    claim: Claim,
    notice: Notice,
    cuts: dict[str, dict[str, int]],
) -> str:
    total: dict[str, int] = {}
    for cut in cuts.values():
        total = plus(total, cut)
    if not covers(total, notice.required):
        return "does not cover what is required"
    before, old = _exceeded(pool, transaction), notice.cuts
    _post(pool, transaction, old, 1)
    _post(pool, transaction, cuts, -1)
    notice.cuts = cuts
    if _exceeded(pool, transaction) - before or pool.unfunded(
        0, [(each, 0) for each in _all(pool)]
    ):
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


def _all(pool: Pool) -> range:
    return range(len(pool.resources))


def _post(pool: Pool, transaction: Transaction, cuts: dict[str, dict[str, int]], sign: int) -> None:
    for key, cut in cuts.items():
        pool.projected.post(transaction.allocations[key].leaf, pool.pairs(cut), sign)


def _exceeded(pool: Pool, transaction: Transaction) -> set[tuple[int, int]]:
    """Where a bound that a claim relies on does not hold: (resource, node)."""
    leaves = {0}
    for claim in pool.claims.values():
        if claim.allocation:
            leaves.add(transaction.allocations[claim.allocation].leaf)
    nothing = [(resource, 0) for resource in _all(pool)]
    return {
        (resource, node)
        for leaf in leaves
        for resource, nodes in pool.projected.exceeded(leaf, nothing).items()
        for node in nodes
    }
