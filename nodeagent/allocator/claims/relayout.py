"""A change of plan, window or capacity: a group is laid out anew (semantics 2.10).

Nobody above the new plan is cut unless somebody claims, the capacity itself has shrunk, or the
consumer asks to be rebalanced when a window begins.
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

    Open claims are cancelled first, because the plan they were made under is gone; what still has
    a claim makes it again in the same operation.
    """
    # A notice given again keeps its deadline. Else a node whose capacity changes every minute
    # (blocked devices, system pods) would put every borrower's deadline off for ever.
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
    """End a claim but for what is being stopped already.

    Usage is not touched: the caller lays the group out anew.
    """
    claimant = transaction.allocations.get(claim.allocation)
    if claimant is not None:
        claimant.claim = ""
        if claimant.state is State.RECLAIMING:
            claimant.move(State.PENDING)
    claim.abandon()
    for notice in list(claim.notices.values()):
        # The pods of a forced notice are being killed; the claim stays open, for nobody, until
        # their units are free.
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
    """Take out of NOTICED what the cancelled notices were about."""
    for allocation in transaction.allocations.values():
        if allocation.group == pool.group.name and allocation.state is State.NOTICED:
            refresh_state(pool, allocation)


def _end_orphans(pool: Pool, transaction: Transaction) -> None:
    """Refuse what waits for consumers that are gone; what holds keeps it and asks no more."""
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
    """Report consumers whose children own more than D* gives them.

    Validation compares what is written; a capacity that shrank shows only here.
    """
    rows = {
        name: [pool.tree.consumers[node].name for node in entitlement.unbalanced]
        for name, entitlement in zip(pool.resources, pool.entitlements, strict=True)
        if entitlement.unbalanced
    }
    if rows:
        transaction.emit(EventType.PLAN_UNBALANCED, group=pool.group.name, consumers=rows)


def repair(pool: Pool, transaction: Transaction) -> None:
    """Take back what exceeds the capacity, by the targets of the usage as it is (I15)."""
    short = [
        resource
        for resource, capacity in enumerate(pool.capacity)
        if pool.projected.upward(resource, 0) > capacity
    ]
    if not short:
        return
    # Leaf -1: nobody asks for more.
    targets = transaction.guard.targets(pool, -1, (), short, None)
    bounds = [Bound(resource, 0, pool.capacity[resource]) for resource in short]
    _take_back(pool, transaction, bounds, targets, pinned=False)


def rebalance(pool: Pool, transaction: Transaction) -> None:
    """Cut leaves with `rebalanceOnWindow` down to their D*; a window or a plan has begun."""
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
    """Open a claim for nobody that brings the bounds about, or as near as it can.

    Non-preemptible allocations are no candidates. Where they leave it short, everything else above
    target goes: unlike a claim, a lost capacity cannot be declined.
    """
    trial = Trial(pool, pool.projected.copy(), bounds)
    # Below the bounds only: one rebalanced leaf is no reason to cut another.
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
    # Nothing can be taken: all of it is non-preemptible, or under notice already.
    if not claim.notices:
        pool.close_claim(claim)
