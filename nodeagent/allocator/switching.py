"""A change of plan, window or capacity: everything is laid out anew, and claims start over.

Who is above plan afterwards is not cut unless somebody claims it, unless the capacity itself has
shrunk, or the consumer asks to be rebalanced when a window begins.
"""

from nodeagent.allocator.allocation import State
from nodeagent.allocator.claim import Claim
from nodeagent.allocator.event import EventType
from nodeagent.allocator.noticing import give_notice, report_cancelled, settle_state
from nodeagent.allocator.pool import Pool
from nodeagent.allocator.releasing import forget
from nodeagent.allocator.turn import Turn
from nodeagent.allocator.victims import Targets, Trial, Watch, candidates, choose


def lay_out_again(pool: Pool, turn: Turn) -> None:
    """Enter everything under the plan and capacity in force now, and repair what exceeds it.

    Claims are called off first. Who still has a claim makes it again at once, and notices that
    are given again keep their deadlines.
    """
    for claim in list(pool.claims.values()):
        for notice in claim.notices.values():
            for key in notice.cuts:
                earlier = turn.earlier.get(key, notice.deadline)
                turn.earlier[key] = min(earlier, notice.deadline)
    for claim in list(pool.claims.values()):
        call_off(turn, claim)
        if not claim.notices:
            del pool.claims[claim.id]
    pool.lay_out(turn.allocations.values())
    _spared_states(pool, turn)
    _end_departed(pool, turn)
    _report_unbalanced(pool, turn)
    repair(pool, turn)


def call_off(turn: Turn, claim: Claim) -> None:
    """End a claim but for what is being stopped already; the books are to be laid out anew."""
    claimant = turn.allocations.get(claim.allocation)
    if claimant is not None:
        claimant.claim = ""
        if claimant.state is State.RECLAIMING:
            claimant.move(State.PENDING)
    claim.allocation, claim.vector, claim.earmark, claim.pinned = "", {}, {}, False
    for notice in list(claim.notices.values()):
        if notice.forced:
            continue
        table = turn.allocations
        spared = [key for key in notice.cuts if table[key].state is not State.STOPPING]
        for key in spared:
            del notice.cuts[key]
        if spared:
            report_cancelled(turn, notice, spared)
        if not notice.cuts:
            del claim.notices[notice.id]


def _spared_states(pool: Pool, turn: Turn) -> None:
    """Nobody is under notice any more but for those that are being stopped."""
    for allocation in turn.allocations.values():
        if allocation.group == pool.group.name and allocation.state is State.NOTICED:
            settle_state(pool, allocation)


def _end_departed(pool: Pool, turn: Turn) -> None:
    """Who waits for a consumer that the plan names no more is refused; who holds, asks no more."""
    for allocation in list(turn.allocations.values()):
        if allocation.group != pool.group.name or allocation.leaf not in pool.tree.departed:
            continue
        if allocation.held:
            allocation.target = dict(allocation.held)
            pool.refresh(allocation)
            continue
        reason = f"the plan has no consumer {allocation.consumer}"
        turn.report(EventType.REFUSED, allocation, reason=reason, shortage={})
        forget(pool, turn, allocation)


def _report_unbalanced(pool: Pool, turn: Turn) -> None:
    """Consumers whose children own more than they have, which the plan alone does not show."""
    rows = {
        name: [pool.tree.consumers[node].name for node in entitlement.unbalanced]
        for name, entitlement in zip(pool.resources, pool.entitlements, strict=True)
        if entitlement.unbalanced
    }
    if rows:
        turn.emit(EventType.PLAN_UNBALANCED, group=pool.group.name, consumers=rows)


def repair(pool: Pool, turn: Turn) -> None:
    """Take back what exceeds the capacity, by the targets of the usage as it is."""
    short = [
        resource
        for resource, capacity in enumerate(pool.capacity)
        if pool.booked.upward(resource, 0) > capacity
    ]
    if not short:
        return
    targets = turn.guard.targets(pool, -1, (), short, None)
    watches = [Watch(resource, 0, pool.capacity[resource]) for resource in short]
    _take_back(pool, turn, watches, targets, pinned=False)


def rebalance(pool: Pool, turn: Turn) -> None:
    """Cut the consumers that ask for it down to their plan; a window has begun."""
    for leaf in pool.tree.leaves:
        if not pool.tree.consumers[leaf].rebalance_on_window:
            continue
        watches = [
            Watch(resource, leaf, entitlement.deserved[leaf])
            for resource, entitlement in enumerate(pool.entitlements)
            if pool.booked.weight[resource][leaf] > entitlement.deserved[leaf]
        ]
        targets = {watch.resource: pool.entitlements[watch.resource].deserved for watch in watches}
        if watches:
            _take_back(pool, turn, watches, targets, pinned=True)


def _take_back(
    pool: Pool, turn: Turn, watches: list[Watch], targets: Targets, *, pinned: bool
) -> None:
    """Open a claim for nobody. What firm allocations hold too much cannot be taken."""
    trial = Trial(pool, pool.booked.copy(), watches)
    nodes = {watch.node for watch in watches}
    found = [
        one
        for one in candidates(pool, targets)
        if nodes & set(pool.tree.paths[one.allocation.leaf])
    ]
    order = turn.guard.order_victims(pool, targets, found, None)
    chosen = choose(trial, order, targets)
    if chosen is None:
        chosen = order
    names = tuple(pool.resources[watch.resource] for watch in watches)
    claim = Claim(turn.name("c"), pool.group.name, "", {}, names, turn.now, pinned)
    pool.open_claim(claim)
    cuts = [(one.allocation, one.vector) for one in chosen]
    give_notice(pool, turn, claim, cuts, targets)
    if not claim.notices:
        pool.close_claim(claim)
