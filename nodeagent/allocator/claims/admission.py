"""Admission of one request: refused, granted, reclaiming or pending (semantics 2.6).

Borrowing is admission against what is free, not against the targets: a large pod that fits is
granted though its consumer's ratio is smaller, and may be reclaimed later.
"""

from berth.base.quantity import minus, ordered, times
from nodeagent.allocator.claims.choice import try_claim
from nodeagent.allocator.grant import grant
from nodeagent.allocator.plan.consumer import Order
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.claim import Claim
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.usage.usage import Pairs
from nodeagent.allocator.values.event import Answer, EventType, Verdict


def admit(pool: Pool, transaction: Transaction, allocation: Allocation) -> Verdict:
    """Decide on what an allocation asks for beyond what it holds, and file it accordingly."""
    # The first of these that applies, for the least it can run with:
    #
    #    can never be served      REFUSED      a client may give up and tell its user
    #    reclaimFirst and a claim RECLAIMING   though it may fit
    #    fits now and later       GRANTED      what is above plan of it is borrowed
    #    the plan gives it        RECLAIMING   others give back, by a deadline
    #    neither                  PENDING      until somebody ends, or the plan changes
    portion, least, _ = allocation.portions()
    refusal = refused(pool, allocation, times(portion, least))
    if refusal:
        return _refuse(pool, transaction, allocation, refusal, times(portion, least))
    if pool.group.order is Order.RECLAIM_FIRST and try_claim(
        pool, transaction, allocation, first=True
    ):
        return verdict_on(pool, allocation)
    if grant_free(pool, transaction, allocation) or try_claim(pool, transaction, allocation):
        return verdict_on(pool, allocation)
    pool.refresh(allocation)
    reason = blocked_by(pool, allocation, times(portion, least))
    transaction.queue(allocation, reason, shortage(pool, allocation))
    return verdict_on(pool, allocation)


def _refuse(
    pool: Pool,
    transaction: Transaction,
    allocation: Allocation,
    reason: str,
    vector: dict[str, int],
) -> Verdict:
    short = {name: more for name, more in vector.items() if name not in pool.number}
    short = short or shortage(pool, allocation)
    transaction.report(EventType.REFUSED, allocation, reason=reason, shortage=ordered(short))
    return Verdict(Answer.REFUSED, reason, ordered(short))


def refused(pool: Pool, allocation: Allocation, vector: dict[str, int]) -> str:
    """Why a vector can never be admitted beside what its leaf uses; empty if it can.

    Only what can never be served is refused. A kubelet takes a refusal by admission for final: the
    pod is Failed, and its controller makes another (semantics 2.6). So the limit of an inner
    consumer refuses only what exceeds it alone: others below it may give back.
    """
    leaf = allocation.leaf
    if leaf in pool.tree.orphans:
        return f"the plan has no consumer {allocation.consumer}"
    # By name, so that the reason given does not depend on the order of the request (I12).
    for name, amount in sorted(vector.items()):
        resource = pool.number.get(name)
        # A name that no plan, capacity or allocation has: not 0 of it, but none at all.
        if resource is None or amount > pool.capacity[resource]:
            return f"{name}: more than the group has"
        cap, usage = pool.entitlements[resource].cap, pool.projected
        if usage.weight[resource][leaf] + amount > cap[leaf]:
            return f"{name}: above the limit of {allocation.consumer}"
        # Without leaf and root: those were compared above.
        for node in pool.tree.paths[leaf][1:-1]:
            if amount > cap[node]:
                return f"{name}: above the limit of {pool.tree.consumers[node].name}"
        if allocation.firm and amount > pool.entitlements[resource].deserved[leaf]:
            return f"{name}: non-preemptible, and more than {allocation.consumer} has by plan"
    return ""


def grant_free(pool: Pool, transaction: Transaction, allocation: Allocation) -> bool:
    """Grant as much as is free now, if that is at least what it needs."""
    portion, least, most = allocation.portions()
    pairs = pool.pairs(portion)
    if most == 1:
        count = 1 if admissible(pool, allocation, pairs) else 0
    else:
        headrooms = (
            pool.headroom(allocation.leaf, resource) // amount for resource, amount in pairs
        )
        # Headroom bounds each resource alone; lending rules and being in plan are searched for.
        count = _most_admissible(pool, allocation, pairs, min(most, *headrooms) if pairs else most)
    if count < least:
        return False
    pool.stop_waiting(allocation)
    grant(pool, transaction, allocation, times(portion, count))
    return True


def _most_admissible(pool: Pool, allocation: Allocation, pairs: Pairs, high: int) -> int:
    """The largest admissible count of a portion up to `high`: if one is not, no larger one is."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if admissible(pool, allocation, _times(pairs, middle)):
            low = middle
        else:
            high = middle - 1
    return low


def _times(pairs: Pairs, count: int) -> Pairs:
    return tuple((resource, amount * count) for resource, amount in pairs)


def admissible(pool: Pool, allocation: Allocation, pairs: Pairs) -> bool:
    """Whether a vector may be granted: it fits now and after every reclaim under way, permitted
    loans cover it, and what is non-preemptible is in plan.
    """
    # Cheapest first: a walk of the path, sums over leaves, a flow.
    if not pool.fits(allocation.leaf, pairs):
        return False
    if allocation.firm and not in_plan_everywhere(pool, allocation.leaf, pairs):
        return False
    return not pool.unfunded(allocation.leaf, pairs)


def in_plan_everywhere(pool: Pool, leaf: int, pairs: Pairs) -> bool:
    """Whether the leaf and every consumer above it stay within their plan with this on top.

    What is never taken back may not be borrowed at any level: else a sibling branch could not get
    its plan. Summed over leaves, because the weight of an inner node counts unused reserves too.
    """
    for resource, amount in pairs:
        weight, deserved = pool.projected.weight[resource], pool.entitlements[resource].deserved
        for node in pool.tree.paths[leaf]:
            used = sum(weight[below] for below in pool.tree.under(node))
            if used + amount > deserved[node]:
                return False
    return True


def shortage(pool: Pool, allocation: Allocation) -> dict[str, int]:
    """By how much what is asked for at least exceeds what is free, by resource."""
    portion, least, _ = allocation.portions()
    short = {}
    for name, amount in times(portion, least).items():
        missing = amount - pool.headroom(allocation.leaf, pool.number[name])
        if missing > 0:
            short[name] = missing
    return short


def _lacking(pool: Pool, claim: Claim, allocation: Allocation) -> dict[str, int]:
    """What a claim still waits for: neither set aside for it nor free; all of it if all is free."""
    # Of `current`: what it gets next is what is free now, not what will be.
    open_part = minus(claim.vector, claim.earmark)
    headroom = {
        name: pool.current.headroom(allocation.leaf, pool.number[name]) for name in open_part
    }
    return ordered(minus(open_part, headroom) or open_part)


def blocked_by(pool: Pool, allocation: Allocation, vector: dict[str, int]) -> str:
    """Why an allocation waits, as text."""
    pairs = pool.pairs(vector)
    leaf = allocation.leaf
    for resource, nodes in pool.projected.exceeded(leaf, pairs).items():
        # Node 0 is the root: its cap is the capacity.
        limiting = [node for node in nodes if node]
        name = pool.resources[resource]
        if limiting:
            return f"{name}: the limit of {pool.tree.consumers[limiting[0]].name} is reached"
        if _below_plan(pool, leaf, resource):
            return f"{name}: no claim can free enough"
        return f"{name}: above plan and nothing is free"
    if allocation.firm and not in_plan_everywhere(pool, leaf, pairs):
        return "non-preemptible, and not in plan at every level"
    if pool.current is not pool.projected and not pool.current.fits(leaf, pairs):
        return "waits for units that others are giving back"
    return "no lender that permits it has units to lend"


def _below_plan(pool: Pool, leaf: int, resource: int) -> bool:
    used = pool.projected.weight[resource][leaf]
    return used < pool.entitlements[resource].deserved[leaf]


def verdict_on(pool: Pool, allocation: Allocation) -> Verdict:
    """What its client is told about an allocation now."""
    state = allocation.state
    if state is State.STOPPING:
        reason = "it is being stopped: its units go back to their owner"
        return Verdict(Answer.PENDING, reason, ordered(allocation.target))
    claim = pool.claims.get(allocation.claim)
    if claim is not None:
        due = claim.deadline()
        if due is None:
            # It waits only for what other claims' victims leave: the last of those is the bound.
            due = max((other.deadline() or 0 for other in pool.claims.values()), default=0) or None
        return Verdict(Answer.RECLAIMING, allocation.reason, _lacking(pool, claim, allocation), due)
    if state is State.PENDING:
        return Verdict(Answer.PENDING, allocation.reason, ordered(shortage(pool, allocation)))
    if state is State.EARMARKED:
        return Verdict(Answer.EARMARKED, deadline=allocation.expires)
    if allocation.missing:
        return Verdict(Answer.PARTIAL, allocation.reason, ordered(allocation.missing))
    return Verdict(Answer.GRANTED)
