"""Release, cancel and modify: what an allocation gives back or asks for no more."""

from berth.base.quantity import Vector, minus, times
from nodeagent.allocator.claims.admission import admit, refused, verdict_on
from nodeagent.allocator.grant import free
from nodeagent.allocator.reclaim.notices import refresh_state, withdraw
from nodeagent.allocator.transaction import ASK_TTL, Transaction
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import Answer, EventType, Verdict


def release(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    vector: Vector | None,
    autoadjust: bool,
) -> dict[str, int]:
    """Take units that are really free off an allocation; returns what was freed.

    `vector` None frees all of it. With `autoadjust` it asks for as much less, and ends when nothing
    is left. Without, what was freed is asked for again, behind what waits already.
    """
    # The usual end of a pod. With claims open, freed units may count towards a notice; one that
    # waits and holds nothing is no member. Both go the long way below.
    if (
        vector is None
        and autoadjust
        and not pool.claims
        and allocation.id in pool.members[allocation.leaf]
    ):
        return _end(pool, transaction, allocation)
    freed = dict(allocation.held)
    if vector is not None:
        freed = {name: min(amount, vector.get(name, 0)) for name, amount in freed.items()}
        freed = {name: amount for name, amount in freed.items() if amount}
    if freed:
        free(pool, transaction, allocation, freed)
    if autoadjust and vector is None:
        forget(pool, transaction, allocation)
        return freed
    if autoadjust:
        _lower(allocation, minus(allocation.target, freed))
    if not allocation.held:
        requeue(pool, transaction, allocation)
    refresh_state(pool, allocation)
    if not allocation.target:
        forget(pool, transaction, allocation)
    return freed


def _end(pool: Pool, transaction: Transaction, allocation: Allocation) -> dict[str, int]:
    """End an allocation that holds something, while nothing is being reclaimed."""
    freed = allocation.held
    pool.projected.post(allocation.leaf, allocation.pairs, -1)
    transaction.report(EventType.FREED, allocation, vector=freed)
    # Without claims both usages are one, and `free` and `forget` come down to this.
    if allocation.missing:
        pool.stop_waiting(allocation)
    del pool.members[allocation.leaf][allocation.id]
    allocation.state = State.FREED
    if allocation.expires is not None:
        transaction.expire(allocation, None)
    del transaction.allocations[allocation.id]
    return freed


def _lower(allocation: Allocation, target: dict[str, int]) -> None:
    """Ask for less; an elastic allocation for fewer units."""
    allocation.target = target
    if allocation.elastic:
        counts = (target.get(name, 0) // each for name, each in allocation.unit.items() if each)
        allocation.maximum = max(allocation.minimum, min(counts, default=allocation.minimum))


def requeue(pool: Pool, transaction: Transaction, allocation: Allocation) -> None:
    """Queue an allocation that has lost all it held, without the claim it had for more.

    Its age starts anew: a victim that kept its place would be first in line for the very units it
    was made to give back.
    """
    if allocation.state not in (State.PENDING, State.RECLAIMING):
        if allocation.claim:
            withdraw(pool, transaction, pool.claims[allocation.claim])
        allocation.move(State.PENDING)
        allocation.seq = transaction.seq
        allocation.reason = "was reclaimed and waits again"
        transaction.expire(allocation, transaction.now + ASK_TTL if allocation.retry else None)


def forget(pool: Pool, transaction: Transaction, allocation: Allocation) -> None:
    """End an allocation: nothing of it is held, asked for or claimed any more."""
    if allocation.claim:
        withdraw(pool, transaction, pool.claims[allocation.claim])
    pool.stop_waiting(allocation)
    pool.members[allocation.leaf].pop(allocation.id, None)
    allocation.state = State.FREED
    transaction.expire(allocation, None)
    del transaction.allocations[allocation.id]


def cancel(pool: Pool, transaction: Transaction, allocation: Allocation) -> None:
    """Withdraw what is asked for and not held; an allocation without units in use ends."""
    if allocation.claim:
        withdraw(pool, transaction, pool.claims[allocation.claim])
    if not allocation.held or allocation.state is State.EARMARKED:
        release(pool, transaction, allocation, None, True)
        return
    _lower(allocation, dict(allocation.held))
    refresh_state(pool, allocation)


def modify(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    unit: dict[str, int],
    counts: tuple[int, int],
) -> Verdict:
    """Ask for another vector or count: what shrinks is free at once, what grows is admitted.

    `counts` are the least and the most units. A growth that could never be admitted is refused, and
    the allocation stays as it was.
    """
    before = (allocation.unit, allocation.minimum, allocation.maximum, allocation.target)
    grown = minus(times(unit, counts[1]), allocation.held)
    least = grown if counts[0] == counts[1] else times(unit, 1)
    # With a claim open, usage has the claimed vector in it and the test would count that twice;
    # the claim is withdrawn first, and `admit` below refuses.
    refusal = refused(pool, allocation, least) if grown and not allocation.claim else ""
    if refusal:
        return Verdict(Answer.REFUSED, refusal)
    if allocation.claim:
        withdraw(pool, transaction, pool.claims[allocation.claim])
    allocation.unit, (allocation.minimum, allocation.maximum) = unit, counts
    allocation.target = times(unit, counts[1])
    shrunk = minus(allocation.held, allocation.target)
    if shrunk:
        free(pool, transaction, allocation, shrunk)
    if not allocation.target:
        forget(pool, transaction, allocation)
        return Verdict(Answer.DONE)
    if not allocation.held:
        requeue(pool, transaction, allocation)
    refresh_state(pool, allocation)
    if allocation.missing and not allocation.stopping:
        verdict = admit(pool, transaction, allocation)
        # What shrank stays shrunk: it has been freed, and somebody may have it by now.
        if verdict.answer is Answer.REFUSED:
            allocation.unit, allocation.minimum, allocation.maximum, _ = before
            allocation.target = {**before[3], **allocation.held}
            pool.refresh(allocation)
        return verdict
    return verdict_on(pool, allocation)
