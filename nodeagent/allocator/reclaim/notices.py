"""Notices to borrowers: given, cancelled, forced at the deadline (semantics 2.8)."""

from collections.abc import Iterable

from berth.base.quantity import minus, ordered, plus
from nodeagent.allocator.policy.victims import Targets, parts_of
from nodeagent.allocator.transaction import LATE_AFTER, Transaction
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.claim import Claim, Notice
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import EventType

Cuts = Iterable[tuple[Allocation, dict[str, int]]]
"""Allocations and the part of each that is to be given back."""


def give_notice(
    pool: Pool, transaction: Transaction, claim: Claim, cuts: Cuts, targets: Targets
) -> None:
    """Tell every borrower what to give back and by when, and take that off the projected usage."""
    claimant = transaction.allocations.get(claim.allocation)
    for allocation, vector in cuts:
        notice = _notice_for(pool, transaction, claim, allocation, claimant)
        kept = notice.cuts.get(allocation.id, {})
        notice.cuts[allocation.id] = ordered(plus(kept, vector))
        pool.projected.post(allocation.leaf, pool.pairs(vector), -1)
        # What gives back asks for nothing more meanwhile, or it would claim its own units.
        if allocation.claim:
            withdraw(pool, transaction, pool.claims[allocation.claim])
        pool.stop_waiting(allocation)
        if allocation.state is not State.STOPPING:
            allocation.move(State.NOTICED)
    # Described after all cuts are off the usage: what is required depends on their sum.
    for notice in claim.notices.values():
        _describe(pool, claim, notice, claimant, targets)
        _announce(transaction, claim, notice, claimant)
    # Grace 0: forced in the operation that gave the notice, without waiting for a tick.
    for notice in list(claim.notices.values()):
        if notice.deadline <= transaction.now:
            force(pool, transaction, notice)


def _notice_for(
    pool: Pool,
    transaction: Transaction,
    claim: Claim,
    allocation: Allocation,
    claimant: Allocation | None,
) -> Notice:
    deadline = _deadline(pool, transaction, allocation, claimant)
    for notice in claim.notices.values():
        if notice.consumer == allocation.consumer and notice.deadline == deadline:
            return notice
    identity = transaction.name("n")
    notice = Notice(identity, claim.id, pool.group.name, allocation.consumer, deadline, {}, {}, {})
    claim.notices[identity] = notice
    return notice


# Deadlines, for a borrower with grace 30 s that was granted at 0 s with borrowMinRuntime 60 s:
#
#    claimed at   claimant's lendoutGrace   deadline
#      10 s              none                 60 s    it was promised to run that long
#      50 s              none                 80 s    30 s from now is later
#      10 s              20 s                 30 s    it borrowed from a lender that waits no longer
#
# Pods are to be gone at the deadline: the time a pod takes to stop lies inside its grace.


def _deadline(
    pool: Pool, transaction: Transaction, allocation: Allocation, claimant: Allocation | None
) -> int:
    """Now and the borrower's grace, at least its promised runtime; never beyond what the claimant
    is willing to wait, nor beyond an earlier notice about the same allocation (semantics 2.8).

    The claimant's `lendoutGrace` wins over `borrowMinRuntime`: it lent on that condition.
    """
    borrower = pool.tree.consumers[allocation.leaf]
    deadline = max(
        transaction.now + borrower.grace, allocation.granted_at + borrower.borrow_min_runtime
    )
    if claimant is not None:
        longest = pool.tree.consumers[claimant.leaf].lendout_grace
        if longest is not None:
            deadline = min(deadline, transaction.now + longest)
    return min(deadline, transaction.earlier.get(allocation.id, deadline))


def _describe(
    pool: Pool, claim: Claim, notice: Notice, claimant: Allocation | None, targets: Targets
) -> None:
    """Fill in what is required at least, and what the borrower may offer instead.

    Allocations are not divisible, so the strict set often gives more than the claim needs; what
    would be left over on the claimant's path is not required of an offer.
    """
    total: dict[str, int] = {}
    for cut in notice.cuts.values():
        total = plus(total, cut)
    notice.required = {}
    for name in claim.short:
        resource = pool.number[name]
        leaf = 0 if claimant is None else claimant.leaf
        left_over = min(
            pool.projected.cap[resource][node] - pool.projected.upward(resource, node)
            for node in pool.tree.paths[leaf]
        )
        # Where the strict set frees 5 and the claim needs 3, 2 are left over: an offer of 3 does.
        amount = total.get(name, 0) - max(0, left_over)
        if amount > 0:
            notice.required[name] = amount
    leaf = pool.tree.index[notice.consumer]
    notice.candidates = {}
    for _, allocation in sorted(pool.members[leaf].items()):
        size = notice.cuts.get(allocation.id, {})
        for part in parts_of(pool, allocation, targets):
            size = plus(size, part.vector)
        if size:
            notice.candidates[allocation.id] = ordered(size)


def _announce(
    transaction: Transaction, claim: Claim, notice: Notice, claimant: Allocation | None
) -> None:
    transaction.emit(
        EventType.RECLAIM_NOTICE,
        notice=notice.id,
        claim=claim.id,
        claimant=claim.allocation,
        claimant_consumer=claimant.consumer if claimant is not None else "",
        consumer=notice.consumer,
        group=notice.group,
        required=ordered(notice.required),
        deadline=notice.deadline,
        strict=listed(notice.cuts),
        candidates=listed(notice.candidates),
    )


def listed(parts: dict[str, dict[str, int]]) -> list[dict[str, object]]:
    """Parts of allocations as JSON-able rows."""
    return [{"id": key, "vector": ordered(vector)} for key, vector in parts.items()]


def force(pool: Pool, transaction: Transaction, notice: Notice) -> None:
    """Have what is still under notice stopped now.

    An allocation that keeps a part runs on, smaller; it is not STOPPING.
    """
    notice.forced = True
    # Across all claims: two of them may each take a part, and together all of it.
    for key in notice.cuts:
        allocation = transaction.allocations[key]
        if not minus(allocation.held, pool.leaving(key)):
            allocation.move(State.STOPPING)
    transaction.emit(
        EventType.FORCED,
        notice=notice.id,
        consumer=notice.consumer,
        group=notice.group,
        strict=listed(notice.cuts),
    )


def force_overdue(pool: Pool, transaction: Transaction) -> None:
    """Force the notices whose deadline has come; report those that are open LATE_AFTER it."""
    for claim in list(pool.claims.values()):
        for notice in list(claim.notices.values()):
            if not notice.forced and notice.deadline <= transaction.now:
                force(pool, transaction, notice)
            if not notice.late and notice.deadline + LATE_AFTER <= transaction.now:
                notice.late = True
                transaction.emit(
                    EventType.RECLAIM_LATE,
                    notice=notice.id,
                    consumer=notice.consumer,
                    group=notice.group,
                    strict=listed(notice.cuts),
                )


def cancel_needless(pool: Pool, transaction: Transaction, claim: Claim) -> None:
    """Cancel, latest first, the cuts that fit again without the claim suffering (I8).

    The latest cut was the least deserved one: victims were chosen in order.
    """
    # After the deadline pods are being killed: units a cut does not need any more will come free
    # and be borrowed again, but there is nothing left to cancel.
    for notice in reversed(list(claim.notices.values())):
        if notice.forced or claim.pinned:
            continue
        cancelled = [
            key
            for key in reversed(list(notice.cuts))
            if _cancel_cut(pool, transaction, notice, key)
        ]
        if cancelled:
            report_cancelled(transaction, notice, cancelled)
            # Each cut that is left is needed now, so an offer must cover them all.
            notice.required = {}
            for cut in notice.cuts.values():
                notice.required = plus(notice.required, cut)
        if not notice.cuts:
            del claim.notices[notice.id]


def report_cancelled(transaction: Transaction, notice: Notice, cancelled: list[str]) -> None:
    """Tell a borrower which allocations it may keep after all."""
    transaction.emit(
        EventType.RECLAIM_CANCELLED,
        notice=notice.id,
        consumer=notice.consumer,
        group=notice.group,
        ids=sorted(cancelled),
    )


def _cancel_cut(pool: Pool, transaction: Transaction, notice: Notice, key: str) -> bool:
    """Take an allocation out of a notice if its units fit again; whether they did."""
    allocation = transaction.allocations[key]
    pairs = pool.pairs(notice.cuts[key])
    if allocation.state is State.STOPPING or not pool.projected.fits(allocation.leaf, pairs):
        return False
    # It fits, but what it is borrowed from may be what the claim takes back.
    if pool.unfunded(allocation.leaf, pairs):
        return False
    pool.projected.post(allocation.leaf, pairs)
    del notice.cuts[key]
    refresh_state(pool, allocation)
    return True


def refresh_state(pool: Pool, allocation: Allocation) -> None:
    """Put an allocation of which nothing is under notice any more into its state at rest."""
    if not pool.leaving(allocation.id):
        if allocation.held:
            allocation.move(_at_rest(allocation))
        pool.refresh(allocation)


def _at_rest(allocation: Allocation) -> State:
    # It was set aside before the notice, and its client has still not come back.
    if allocation.expires is not None:
        return State.EARMARKED
    return State.SQUEEZED if allocation.missing and not allocation.elastic else State.GRANTED


def withdraw(pool: Pool, transaction: Transaction, claim: Claim) -> None:
    """Give up a claim that nobody wants any more, and cancel the notices that can be cancelled.

    What is being stopped already goes on under the claim, for nobody.
    """
    allocation = transaction.allocations.get(claim.allocation)
    if allocation is not None:
        pool.projected.post(allocation.leaf, pool.pairs(claim.vector), -1)
        pool.current.post(allocation.leaf, pool.pairs(claim.earmark), -1)
        allocation.claim = ""
        if allocation.state is State.RECLAIMING:
            allocation.move(State.PENDING)
    claim.abandon()
    cancel_needless(pool, transaction, claim)
    if not claim.notices:
        pool.close_claim(claim)
