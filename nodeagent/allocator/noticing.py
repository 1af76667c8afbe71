"""Notices to borrowers: given, answered, called off, run out (2.8 of the semantics)."""

from collections.abc import Iterable

from berth.base.quantity import minus, ordered, plus
from nodeagent.allocator.allocation import Allocation, State
from nodeagent.allocator.claim import Claim, Notice
from nodeagent.allocator.event import EventType
from nodeagent.allocator.pool import Pool
from nodeagent.allocator.turn import LEEWAY, Turn
from nodeagent.allocator.victims import Targets, parts_of

Cuts = Iterable[tuple[Allocation, dict[str, int]]]
"""Parts of allocations that are to be given back."""


def give_notice(pool: Pool, turn: Turn, claim: Claim, cuts: Cuts, targets: Targets) -> None:
    """Tell every borrower what it must give back by when, and take it off the books of after."""
    claimant = turn.allocations.get(claim.allocation)
    for allocation, vector in cuts:
        notice = _notice_for(pool, turn, claim, allocation, claimant)
        kept = notice.cuts.get(allocation.id, {})
        notice.cuts[allocation.id] = ordered(plus(kept, vector))
        pool.booked.post(allocation.leaf, pool.pairs(vector), -1)
        if allocation.claim:
            withdraw(pool, turn, pool.claims[allocation.claim])
        pool.stop_waiting(allocation)
        if allocation.state is not State.STOPPING:
            allocation.move(State.NOTICED)
    for notice in claim.notices.values():
        _describe(pool, claim, notice, claimant, targets)
        _announce(turn, claim, notice, claimant)
    for notice in list(claim.notices.values()):
        if notice.deadline <= turn.now:
            force(pool, turn, notice)


def _notice_for(
    pool: Pool, turn: Turn, claim: Claim, allocation: Allocation, claimant: Allocation | None
) -> Notice:
    deadline = _deadline(pool, turn, allocation, claimant)
    for notice in claim.notices.values():
        if notice.consumer == allocation.consumer and notice.deadline == deadline:
            return notice
    identity = turn.name("n")
    notice = Notice(identity, claim.id, pool.group.name, allocation.consumer, deadline, {}, {}, {})
    claim.notices[identity] = notice
    return notice


def _deadline(pool: Pool, turn: Turn, allocation: Allocation, claimant: Allocation | None) -> int:
    """Now and the borrower's grace, at least its promised runtime; never beyond what the claimant
    is willing to wait, nor beyond an earlier notice about the same allocation.
    """
    borrower = pool.tree.consumers[allocation.leaf]
    deadline = max(turn.now + borrower.grace, allocation.granted_at + borrower.borrow_min_runtime)
    if claimant is not None:
        patience = pool.tree.consumers[claimant.leaf].lendout_grace
        if patience is not None:
            deadline = min(deadline, turn.now + patience)
    return min(deadline, turn.earlier.get(allocation.id, deadline))


def _describe(
    pool: Pool, claim: Claim, notice: Notice, claimant: Allocation | None, targets: Targets
) -> None:
    """What is required at least, and what the borrower may offer instead."""
    total: dict[str, int] = {}
    for cut in notice.cuts.values():
        total = plus(total, cut)
    notice.required = {}
    for name in claim.short:
        resource = pool.number[name]
        leaf = 0 if claimant is None else claimant.leaf
        spare = min(
            pool.booked.cap[resource][node] - pool.booked.upward(resource, node)
            for node in pool.tree.paths[leaf]
        )
        amount = total.get(name, 0) - max(0, spare)
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


def _announce(turn: Turn, claim: Claim, notice: Notice, claimant: Allocation | None) -> None:
    turn.emit(
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


def force(pool: Pool, turn: Turn, notice: Notice) -> None:
    """The deadline has passed: what is still under notice is to be stopped now."""
    notice.forced = True
    for key in notice.cuts:
        allocation = turn.allocations[key]
        if not minus(allocation.held, pool.leaving(key)):
            allocation.move(State.STOPPING)
    turn.emit(
        EventType.FORCED,
        notice=notice.id,
        consumer=notice.consumer,
        group=notice.group,
        strict=listed(notice.cuts),
    )


def run_out(pool: Pool, turn: Turn) -> None:
    """Force the notices whose deadline has come, and report those that outlast the leeway."""
    for claim in list(pool.claims.values()):
        for notice in list(claim.notices.values()):
            if not notice.forced and notice.deadline <= turn.now:
                force(pool, turn, notice)
            if not notice.late and notice.deadline + LEEWAY <= turn.now:
                notice.late = True
                turn.emit(
                    EventType.RECLAIM_LATE,
                    notice=notice.id,
                    consumer=notice.consumer,
                    group=notice.group,
                    strict=listed(notice.cuts),
                )


def spare(pool: Pool, turn: Turn, claim: Claim) -> None:
    """Call off, latest first, what a claim does not need any more."""
    for notice in reversed(list(claim.notices.values())):
        if notice.forced or claim.pinned:
            continue
        spared = [key for key in reversed(list(notice.cuts)) if _spare(pool, turn, notice, key)]
        if spared:
            report_cancelled(turn, notice, spared)
            notice.required = {}
            for cut in notice.cuts.values():
                notice.required = plus(notice.required, cut)
        if not notice.cuts:
            del claim.notices[notice.id]


def report_cancelled(turn: Turn, notice: Notice, spared: list[str]) -> None:
    """Tell a borrower which allocations it may keep after all."""
    turn.emit(
        EventType.RECLAIM_CANCELLED,
        notice=notice.id,
        consumer=notice.consumer,
        group=notice.group,
        ids=sorted(spared),
    )


def _spare(pool: Pool, turn: Turn, notice: Notice, key: str) -> bool:
    allocation = turn.allocations[key]
    pairs = pool.pairs(notice.cuts[key])
    if allocation.state is State.STOPPING or not pool.booked.fits(allocation.leaf, pairs):
        return False
    if pool.unfunded(allocation.leaf, pairs):
        return False
    pool.booked.post(allocation.leaf, pairs)
    del notice.cuts[key]
    settle_state(pool, allocation)
    return True


def settle_state(pool: Pool, allocation: Allocation) -> None:
    """Where an allocation stands that holds something, once a notice about it has ended."""
    if not pool.leaving(allocation.id):
        if allocation.held:
            allocation.move(_at_rest(allocation))
        pool.refresh(allocation)


def _at_rest(allocation: Allocation) -> State:
    if allocation.expires is not None:
        return State.EARMARKED
    return State.SQUEEZED if allocation.missing and not allocation.elastic else State.GRANTED


def withdraw(pool: Pool, turn: Turn, claim: Claim) -> None:
    """Nobody wants a claim any more: give up its units and call off what can be called off.

    What is being stopped already goes on under the claim, for nobody.
    """
    allocation = turn.allocations.get(claim.allocation)
    if allocation is not None:
        pool.booked.post(allocation.leaf, pool.pairs(claim.vector), -1)
        pool.physical.post(allocation.leaf, pool.pairs(claim.earmark), -1)
        allocation.claim = ""
        if allocation.state is State.RECLAIMING:
            allocation.move(State.PENDING)
    claim.allocation, claim.vector, claim.earmark, claim.pinned = "", {}, {}, False
    spare(pool, turn, claim)
    if not claim.notices:
        pool.close_claim(claim)
