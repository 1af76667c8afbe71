"""After every change: cancel needless notices, give freed units to claims, serve the queue."""

from berth.base.quantity import covers, minus, plus
from nodeagent.allocator.claims.admission import admissible, grant_free
from nodeagent.allocator.claims.choice import try_claim
from nodeagent.allocator.claims.feasibility import claim_possible, claim_ruled_out
from nodeagent.allocator.grant import record_grant
from nodeagent.allocator.reclaim.notices import cancel_needless
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.allocation import Allocation, Shape
from nodeagent.allocator.usage.claim import Claim
from nodeagent.allocator.usage.pool import Pool


def reconcile(pool: Pool, transaction: Transaction) -> None:
    """Bring a group to rest: no notice that is not needed, no grant or claim that could be made.

    It ends because a round either serves somebody or is the last one: see semantics 2.6 for the
    order, and 2.7 for when claims may go round.
    """
    # Each round may make the next one necessary: a claim that is fulfilled cancels notices, one
    # that gives way leaves units to the queue.
    while True:
        if pool.claims:
            _tend_claims(pool, transaction)
        if not pool.waiting or not _serve(pool, transaction):
            return


def _tend_claims(pool: Pool, transaction: Transaction) -> None:
    for claim in list(pool.claims.values()):
        cancel_needless(pool, transaction, claim)
    # Cancelled for all claims before anything is set aside: a claim takes of what is free only what
    # it no longer expects from borrowers. One may close another, so each is looked up again.
    for claim in list(pool.claims.values()):
        if claim.id in pool.claims:
            earmark(pool, transaction, claim)


def earmark(pool: Pool, transaction: Transaction, claim: Claim) -> None:
    """Set freed units aside for a claim, and grant once it has all; end one that is for nobody.

    Set aside piece by piece, because victims stop at different times, and until then nobody else
    may borrow what has come free.
    """
    allocation = transaction.allocations.get(claim.allocation)
    if allocation is None:
        if not claim.notices:
            pool.close_claim(claim)
        return
    # What is neither set aside nor still expected from a borrower is free now, or was given by
    # somebody who was not asked.
    lacking = minus(minus(claim.vector, claim.earmark), claim.under_way())
    for name, amount in sorted(lacking.items()):
        more = min(amount, pool.current.headroom(allocation.leaf, pool.number[name]))
        if more:
            pool.current.post(allocation.leaf, pool.pairs({name: more}))
            claim.earmark = plus(claim.earmark, {name: more})
    if covers(claim.earmark, claim.vector):
        _fulfil(pool, transaction, claim, allocation)


def _fulfil(pool: Pool, transaction: Transaction, claim: Claim, allocation: Allocation) -> None:
    """Grant what both usages hold already: claimed in `projected`, set aside in `current`."""
    vector = claim.vector
    claim.abandon()
    allocation.claim = ""
    cancel_needless(pool, transaction, claim)
    if not claim.notices:
        pool.close_claim(claim)
    record_grant(pool, transaction, allocation, vector)


def _serve(pool: Pool, transaction: Transaction) -> bool:
    """Grant to all in the queue that fit, in order, then make claims; whether one was served.

    Grants come first: a claim for what is free would take back from borrowers without need.
    """
    served = False
    shapes = {shape for shape, one in _oldest(pool).items() if _fits(pool, one)}
    # Grants only use up units, so a shape that did not fit is not tried again.
    while shapes and _serve_one(pool, transaction, shapes):
        served = True
    return _claim_all(pool, transaction) or served


def _oldest(pool: Pool) -> dict[Shape, Allocation]:
    """The oldest of every shape: it stands for the others, which are served or not alike."""
    oldest: dict[Shape, Allocation] = {}
    for queue in pool.waiting.values():
        for one in queue.values():
            first = oldest.get(one.shape)
            if first is None or (one.seq, one.id) < (first.seq, first.id):
                oldest[one.shape] = one
    return oldest


def _fits(pool: Pool, allocation: Allocation) -> bool:
    return admissible(pool, allocation, allocation.shape[1])


def _serve_one(pool: Pool, transaction: Transaction, shapes: set[Shape]) -> bool:
    """Grant to the first in the queue that fits; drops the shapes that do not.

    One at a time: each grant changes its consumer's part, and with it the order of the queue.
    """
    oldest = [one for shape, one in _oldest(pool).items() if shape in shapes]
    for allocation in transaction.guard.order_waiting(pool, oldest):
        shape = allocation.shape
        if shape not in shapes:
            continue
        if grant_free(pool, transaction, allocation):
            if _waits(pool, allocation):
                shapes.add(allocation.shape)
            return True
        shapes.remove(shape)
    return False


def _claim_all(pool: Pool, transaction: Transaction) -> bool:
    """Make every claim that can be made; whether one was."""
    oldest = _oldest(pool)
    open_shapes = {
        shape for shape in oldest if not claim_ruled_out(pool, transaction, shape[0], shape[1])
    }
    # One path for each shape tells whether it is worth ordering the whole queue.
    if not any(claim_possible(pool, transaction, oldest[shape]) for shape in open_shapes):
        return False
    served = False
    waiting = [
        one for queue in pool.waiting.values() for one in queue.values() if one.shape in open_shapes
    ]
    for allocation in transaction.guard.order_waiting(pool, waiting):
        if allocation.shape not in open_shapes or not _waits(pool, allocation):
            continue
        # Tended to at once: the next in the queue is measured against usage with this claim in it.
        if try_claim(pool, transaction, allocation):
            _tend_claims(pool, transaction)
            served = True
        else:
            open_shapes.discard(allocation.shape)
    return served


def _waits(pool: Pool, allocation: Allocation) -> bool:
    return allocation.id in pool.waiting.get(allocation.leaf, {})
