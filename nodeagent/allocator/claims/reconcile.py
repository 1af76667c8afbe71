"""After every change: call off needless notices, hand over freed units, serve the queue."""

from berth.base.quantity import covers, minus, plus
from nodeagent.allocator.claims.admission import admissible, grant_free
from nodeagent.allocator.claims.choice import hopeless, promising, try_claim
from nodeagent.allocator.grant import record_grant
from nodeagent.allocator.reclaim.notices import cancel_needless
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.allocation import Allocation, Wish
from nodeagent.allocator.usage.claim import Claim
from nodeagent.allocator.usage.pool import Pool


def reconcile(pool: Pool, transaction: Transaction) -> None:
    """Bring a group to rest: no notice that is not needed, no grant or claim that could be made."""
    while True:
        if pool.claims:
            _tend_claims(pool, transaction)
        if not pool.waiting or not _serve(pool, transaction):
            return


def _tend_claims(pool: Pool, transaction: Transaction) -> None:
    for claim in list(pool.claims.values()):
        cancel_needless(pool, transaction, claim)
    for claim in list(pool.claims.values()):
        if claim.id in pool.claims:
            earmark(pool, transaction, claim)


def earmark(pool: Pool, transaction: Transaction, claim: Claim) -> None:
    """Take freed units for a claim; hand them over once it has all, or end it if it has none."""
    allocation = transaction.allocations.get(claim.allocation)
    if allocation is None:
        if not claim.notices:
            pool.close_claim(claim)
        return
    lacking = minus(minus(claim.vector, claim.earmark), claim.under_way())
    for name, amount in sorted(lacking.items()):
        more = min(amount, pool.physical.room(allocation.leaf, pool.number[name]))
        if more:
            pool.physical.post(allocation.leaf, pool.pairs({name: more}))
            claim.earmark = plus(claim.earmark, {name: more})
    if covers(claim.earmark, claim.vector):
        _fulfil(pool, transaction, claim, allocation)


def _fulfil(pool: Pool, transaction: Transaction, claim: Claim, allocation: Allocation) -> None:
    """Both usage have the units already: they were claimed in one and set aside in the other."""
    vector = claim.vector
    claim.allocation, claim.vector, claim.earmark, claim.pinned = "", {}, {}, False
    allocation.claim = ""
    cancel_needless(pool, transaction, claim)
    if not claim.notices:
        pool.close_claim(claim)
    record_grant(pool, transaction, allocation, vector)


def _serve(pool: Pool, transaction: Transaction) -> bool:
    """Grant or claim for the first in the queue that can be served; whether one could.

    Units only become fewer here, so what did not fit once is not tried again.
    """
    served = False
    wishes = {wish for wish, one in _fronts(pool).items() if _fits(pool, one)}
    while wishes and _serve_one(pool, transaction, wishes):
        served = True
    return _claim_all(pool, transaction) or served


def _fronts(pool: Pool) -> dict[Wish, Allocation]:
    """The oldest of every different wish: equal ones of a leaf are served or not alike."""
    fronts: dict[Wish, Allocation] = {}
    for queue in pool.waiting.values():
        for one in queue.values():
            front = fronts.get(one.wish)
            if front is None or (one.seq, one.id) < (front.seq, front.id):
                fronts[one.wish] = one
    return fronts


def _fits(pool: Pool, allocation: Allocation) -> bool:
    return admissible(pool, allocation, allocation.wish[1])


def _serve_one(pool: Pool, transaction: Transaction, wishes: set[Wish]) -> bool:
    """Grant to the first in the queue that can be; drops the wishes that cannot."""
    fronts = [one for wish, one in _fronts(pool).items() if wish in wishes]
    for allocation in transaction.guard.order_waiting(pool, fronts):
        wish = allocation.wish
        if wish not in wishes:
            continue
        if grant_free(pool, transaction, allocation):
            if _waits(pool, allocation):
                wishes.add(allocation.wish)
            return True
        wishes.remove(wish)
    return False


def _claim_all(pool: Pool, transaction: Transaction) -> bool:
    """Make every claim that can be made; whether one was."""
    fronts = _fronts(pool)
    hopes = {wish for wish in fronts if not hopeless(pool, transaction, wish[0], wish[1])}
    if not any(promising(pool, transaction, fronts[wish]) for wish in hopes):
        return False
    served = False
    hoping = [one for queue in pool.waiting.values() for one in queue.values() if one.wish in hopes]
    for allocation in transaction.guard.order_waiting(pool, hoping):
        if allocation.wish not in hopes or not _waits(pool, allocation):
            continue
        if try_claim(pool, transaction, allocation):
            _tend_claims(pool, transaction)
            served = True
        else:
            hopes.discard(allocation.wish)
    return served


def _waits(pool: Pool, allocation: Allocation) -> bool:
    return allocation.id in pool.waiting.get(allocation.leaf, {})
