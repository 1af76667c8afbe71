"""A change of plan, window or capacity: everything is laid out anew, and claims start over.

Who is above plan afterwards is not cut unless somebody claims it, unless the capacity itself has
shrunk, or the consumer asks to be rebalanced when a window begins.
"""

from nodeagent.allocator.claims.release import forget
from nodeagent.allocator.policy.victims import Bound, Targets, Trial, candidates, choose
from nodeagent.allocator.reclaim.notices import give_notice, refresh_state, report_cancelled
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.allocation import State
from nodeagent.allocator.usage.claim import Claim
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import EventType


def relayout(pool: Pool, transaction: Transaction) -> None:
    """Enter everything under the plan and capacity in force now, and repair what exceeds it.

    Claims are called off first. Who still has a claim makes it again at once, and notices that
    are given again keep their deadlines.
    """
    for claim in list(pool.claims.values()):
        for notice in claim.notices.values():
            for key in notice.cuts:
                earlier = transaction.earlier.get(key, notice.deadline)
                transaction.earlier[key] = min(earlier, notice.deadline)
    for claim in list(pool.claims.values()):
        cancel_claim(transaction, claim)
        if not claim.notices:
            del pool.claims[claim.id]
    pool.lay_out(transaction.allocations.values())
    _refresh_noticed(pool, transaction)
    _end_orphans(pool, transaction)
    _report_unbalanced(pool, transaction)
    repair(pool, transaction)


def cancel_claim(transaction: Transaction, claim: Claim) -> None:
    """End a claim but for what is being stopped already; the usage are to be laid out anew."""
    claimant = transaction.allocations.get(claim.allocation)
    if claimant is not None:
        claimant.claim = ""
        if claimant.state is State.RECLAIMING:
            claimant.move(State.PENDING)
    claim.allocation, claim.vector, claim.earmark, claim.pinned = "", {}, {}, False
    for notice in list(claim.notices.values()):
        if notice.forced:
            continue
        table = transaction.allocations
        cancelled = [key for key in notice.cuts if table[key].state is not State.STOPPING]
        for key in cancelled:
            del notice.cuts[key]
        if cancelled:
            report_cancelled(transaction, notice, cancelled)
        if not notice.cuts:
            del claim.notices[notice.id]


def _refresh_noticed(pool: Pool, transaction: Transaction) -> None:
    """Nobody is under notice any more but for those that are being stopped."""
    for allocation in transaction.allocations.values():
        if allocation.group == pool.group.name and allocation.state is State.NOTICED:
            refresh_state(pool, allocation)


def _end_orphans(pool: Pool, transaction: Transaction) -> None:
    """Who waits for a consumer that the plan names no more is refused; who holds, asks no more."""
    for allocation in list(transaction.allocations.values()):
        if allocation.group != pool.group.name or allocation.leaf not in pool.tree.orphans:
            continue
        if allocation.held:
            allocation.target = dict(allocation.held)
            pool.refresh(allocation)
            continue
        reason = f"the plan has no consumer {allocation.consumer}"
        transaction.report(EventType.REFUSED, allocation, reason=reason, shortage={})
        forget(pool, transaction, allocation)


def _report_unbalanced(pool: Pool, transaction: Transaction) -> None:
    """Consumers whose children own more than they have, which the plan alone does not show."""
    rows = {
        name: [pool.tree.consumers[node].name for node in entitlement.unbalanced]
        for name, entitlement in zip(pool.resources, pool.entitlements, strict=True)
        if entitlement.unbalanced
    }
    if rows:
        transaction.emit(EventType.PLAN_UNBALANCED, group=pool.group.name, consumers=rows)


def repair(pool: Pool, transaction: Transaction) -> None:
    """Take back what exceeds the capacity, by the targets of the usage as it is."""
    short = [
        resource
        for resource, capacity in enumerate(pool.capacity)
        if pool.projected.upward(resource, 0) > capacity
    ]
    if not short:
        return
    targets = transaction.guard.targets(pool, -1, (), short, None)
    bounds = [Bound(resource, 0, pool.capacity[resource]) for resource in short]
    _take_back(pool, transaction, bounds, targets, pinned=False)


def rebalance(pool: Pool, transaction: Transaction) -> None:
    """Cut the consumers that ask for it down to their plan; a window has begun."""
    for leaf in pool.tree.leaves:
        if not pool.tree.consumers[leaf].rebalance_on_window:
            continue
        bounds = [
            Bound(resource, leaf, entitlement.deserved[leaf])
            for resource, entitlement in enumerate(pool.entitlements)
            if pool.projected.weight[resource][leaf] > entitlement.deserved[leaf]
        ]
        targets = {bound.resource: pool.entitlements[bound.resource].deserved for bound in bounds}
        if bounds:
            _take_back(pool, transaction, bounds, targets, pinned=True)


def _take_back(
    pool: Pool, transaction: Transaction, bounds: list[Bound], targets: Targets, *, pinned: bool
) -> None:
    """Open a claim for nobody. What firm allocations hold too much cannot be taken."""
    trial = Trial(pool, pool.projected.copy(), bounds)
    nodes = {bound.node for bound in bounds}
    found = [
        one
        for one in candidates(pool, targets)
        if nodes & set(pool.tree.paths[one.allocation.leaf])
    ]
    order = transaction.guard.order_victims(pool, targets, found, None)
    chosen = choose(trial, order, targets)
    if chosen is None:
        chosen = order
    names = tuple(pool.resources[bound.resource] for bound in bounds)
    claim = Claim(transaction.name("c"), pool.group.name, "", {}, names, transaction.now, pinned)
    pool.open_claim(claim)
    cuts = [(one.allocation, one.vector) for one in chosen]
    give_notice(pool, transaction, claim, cuts, targets)
    if not claim.notices:
        pool.close_claim(claim)
