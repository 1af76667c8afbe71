"""Giving units to an allocation, and taking them off the usage when they are free again."""

from berth.base.quantity import Vector, minus, ordered, plus
from nodeagent.allocator.transaction import RETURN_TTL, Transaction
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import EventType


def grant(pool: Pool, transaction: Transaction, allocation: Allocation, vector: Vector) -> None:
    """Give a vector that is known to fit, and post it to both usages."""
    pool.post(allocation.leaf, pool.pairs(vector))
    record_grant(pool, transaction, allocation, vector)


def grant_whole(pool: Pool, transaction: Transaction, allocation: Allocation) -> bool:
    """Give a new inelastic allocation all it asks for, if it fits.

    The same as `grant` for the case that happens most, with one walk of the path and no detours:
    nothing is held, claimed or awaited yet.
    """
    number = pool.number
    pairs = tuple((number[name], amount) for name, amount in allocation.target.items())
    if not pool.post_if_fits(allocation.leaf, pairs):
        return False
    allocation.held = dict(allocation.target)
    allocation.pairs = pairs
    allocation.granted_at, allocation.seq = transaction.now, transaction.seq
    allocation.state = State.GRANTED
    pool.members[allocation.leaf][allocation.id] = allocation
    transaction.report(
        EventType.GRANTED,
        allocation,
        vector=allocation.held,
        held=allocation.held,
        missing={},
        borrowed=borrowed(pool, allocation.leaf, allocation.held),
    )
    return True


def record_grant(
    pool: Pool, transaction: Transaction, allocation: Allocation, vector: Vector
) -> None:
    """Give a vector that both usages hold already.

    A client that asks again by itself is not there to take it: what it gets in its absence is set
    aside until it comes back (EARMARKED).
    """
    first = not allocation.held
    allocation.held = ordered(plus(allocation.held, vector))
    allocation.reason = ""
    # Its age for the choice of victims counts from here: newest first gives back, and time spent
    # in the queue is no seniority.
    if first:
        allocation.granted_at = transaction.now
        allocation.seq = transaction.seq
    missing = allocation.missing
    # A running pod that is topped up has its client; one that holds nothing yet, or was set aside
    # before, may have lost it.
    away = first or allocation.expires is not None
    if allocation.retry and away and transaction.asking != allocation.id:
        until = transaction.now + RETURN_TTL
        transaction.expire(allocation, until)
        allocation.move(State.EARMARKED)
        transaction.report(EventType.EARMARKED, allocation, vector=ordered(vector), until=until)
    else:
        if allocation.expires is not None:
            transaction.expire(allocation, None)
        allocation.move(State.SQUEEZED if missing and not allocation.elastic else State.GRANTED)
        report_grant(pool, transaction, allocation, vector)
    pool.refresh(allocation)


def report_grant(
    pool: Pool, transaction: Transaction, allocation: Allocation, vector: Vector
) -> None:
    """Report what was given, whether more is to come, and what the leaf holds above its plan."""
    missing = allocation.missing
    transaction.report(
        EventType.PARTIAL if missing else EventType.GRANTED,
        allocation,
        vector=ordered(vector),
        held=ordered(allocation.held),
        missing=ordered(missing),
        borrowed=borrowed(pool, allocation.leaf, vector),
    )


def borrowed(pool: Pool, leaf: int, vector: Vector) -> dict[str, int]:
    """By how much a leaf is above its plan, in the resources of a vector."""
    above = {}
    weight, entitlements, number = pool.projected.weight, pool.entitlements, pool.number
    for name in sorted(vector):
        resource = number[name]
        more = weight[resource][leaf] - entitlements[resource].deserved[leaf]
        if more > 0:
            above[name] = more
    return above


def free(pool: Pool, transaction: Transaction, allocation: Allocation, vector: Vector) -> None:
    """Take units that are really free off what an allocation holds, and off the usages.

    What was under notice left the projected usage when the notice was given.
    """
    expected = credit(pool, allocation, vector)
    pool.projected.post(allocation.leaf, pool.pairs(minus(vector, expected)), -1)
    if pool.current is not pool.projected:
        pool.current.post(allocation.leaf, pool.pairs(vector), -1)
    allocation.held = minus(allocation.held, vector)
    transaction.report(EventType.FREED, allocation, vector=ordered(vector))


def credit(pool: Pool, allocation: Allocation, vector: Vector) -> dict[str, int]:
    """Count freed units towards the notices about an allocation; returns the part that counted."""
    expected: dict[str, int] = {}
    # Notices first, oldest claim first: a pod that shrinks by itself has obeyed.
    rest = vector
    for claim in list(pool.claims.values()):
        for notice in list(claim.notices.values()):
            cut = notice.cuts.get(allocation.id)
            if cut is None:
                continue
            part = {name: min(amount, rest.get(name, 0)) for name, amount in cut.items()}
            rest, expected = minus(rest, part), plus(expected, part)
            left = minus(cut, part)
            if left:
                notice.cuts[allocation.id] = left
                continue
            del notice.cuts[allocation.id]
            if not notice.cuts:
                del claim.notices[notice.id]
    return expected
