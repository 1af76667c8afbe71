"""A request: find its group and leaf, check who may ask, then admit it (semantics 2.6)."""

from berth.base.quantity import ordered, times
from nodeagent.allocator.claims.admission import admit, verdict_on
from nodeagent.allocator.claims.reconcile import reconcile
from nodeagent.allocator.claims.relayout import relayout
from nodeagent.allocator.grant import grant_whole, report_grant
from nodeagent.allocator.plan.consumer import Order
from nodeagent.allocator.plan.naming import admits
from nodeagent.allocator.state import NodeState
from nodeagent.allocator.transaction import ASK_TTL, Transaction
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import Answer, EventType, Verdict
from nodeagent.allocator.values.operation import Request

GRANTED = Verdict(Answer.GRANTED)
SYSTEM = "system"
"""The consumer of static, mirror and system-critical pods (semantics 2.1).

They run whether or not the node agrees, so they are always admitted and lessen the capacity.
"""


def request(state: NodeState, transaction: Transaction, operation: Request) -> Verdict:
    """Admit a request; one that was made before only returns where it stands."""
    transaction.asking = operation.id
    known = state.allocations.get(operation.id)
    if known is not None:
        return _asked_again(state.pools[known.group], transaction, known)
    if operation.consumer == SYSTEM:
        return _system(state, transaction, operation)
    pool, leaf = _find(state, operation)
    if pool is None or leaf is None:
        return _refuse(
            transaction, operation, f"the plan has no leaf consumer {operation.consumer}"
        )
    if not admits(pool.tree.consumers[leaf], operation.namespace):
        reason = f"{operation.consumer} admits no pods of namespace {operation.namespace!r}"
        return _refuse(transaction, operation, reason)
    allocation = _allocation(pool, leaf, transaction, operation)
    state.allocations[operation.id] = allocation
    # What simply fits is decided by one walk of the path; it is nearly every request of a node with
    # free capacity. Everybody else comes to the same verdict through `admit`.
    if _simple(pool, allocation) and grant_whole(pool, transaction, allocation):
        if pool.waiting:
            reconcile(pool, transaction)
        return GRANTED
    before = pool.projected.version
    verdict = admit(pool, transaction, allocation)
    if verdict.answer is Answer.REFUSED:
        del state.allocations[operation.id]
        return verdict
    # From the first verdict on its client is expected back.
    if allocation.retry and not allocation.held:
        transaction.expire(allocation, transaction.now + ASK_TTL)
    if pool.projected.version == before and transaction.guard.built_in(pool) is not None:
        # The group was at rest before and usage has not changed, so nobody else can be served now.
        # A plug-in may order by anything, such as the number of those who wait.
        return verdict
    if not pool.claims and not pool.waiting:
        return verdict
    reconcile(pool, transaction)
    return verdict_on(pool, allocation)


def _simple(pool: Pool, allocation: Allocation) -> bool:
    """Whether fitting is all it takes to grant a request."""
    return (
        allocation.maximum == 1
        and not allocation.firm
        and not pool.lending.restricted
        and pool.group.order is Order.BORROW_FIRST
        and allocation.unit.keys() <= pool.number.keys()
    )


def _find(state: NodeState, operation: Request) -> tuple[Pool | None, int | None]:
    if operation.group:
        pool = state.pools.get(operation.group)
        return pool, None if pool is None else pool.tree.leaf(operation.consumer)
    # Groups in the order of the plan: one name may be a leaf of several.
    for pool in state.pools.values():
        leaf = pool.tree.leaf(operation.consumer)
        if leaf is not None:
            return pool, leaf
    return None, None


def _refuse(transaction: Transaction, operation: Request, reason: str) -> Verdict:
    transaction.emit(
        EventType.REFUSED,
        id=operation.id,
        consumer=operation.consumer,
        group=operation.group,
        reason=reason,
        shortage={},
    )
    return Verdict(Answer.REFUSED, reason)


def _allocation(pool: Pool, leaf: int, transaction: Transaction, operation: Request) -> Allocation:
    unit = ordered(operation.vector)
    return Allocation(
        id=operation.id,
        group=pool.group.name,
        consumer=operation.consumer,
        unit=unit,
        minimum=operation.minimum,
        maximum=operation.maximum,
        # Shared, not copied: vectors of an allocation are replaced and never written in place.
        target=unit if operation.maximum == 1 else times(unit, operation.maximum),
        priority=operation.priority,
        firm=operation.firm,
        retry=operation.retry,
        seq=transaction.seq,
        leaf=leaf,
    )


def _asked_again(pool: Pool, transaction: Transaction, allocation: Allocation) -> Verdict:
    """A client asks again: what was set aside for it is granted; a wait goes on."""
    # What it holds goes back to its owner; asking again must not make it a grant.
    if allocation.state is State.STOPPING:
        return verdict_on(pool, allocation)
    if allocation.held and allocation.expires is not None:
        transaction.expire(allocation, None)
        if allocation.state is State.EARMARKED:
            allocation.move(State.GRANTED)
        report_grant(pool, transaction, allocation, allocation.held)
        pool.refresh(allocation)
    elif allocation.retry and not allocation.held:
        transaction.expire(allocation, transaction.now + ASK_TTL)
    return verdict_on(pool, allocation)


def _system(state: NodeState, transaction: Transaction, operation: Request) -> Verdict:
    """Take a system pod off the capacity, and reclaim what then exceeds it."""
    group = operation.group or next(iter(state.pools))
    pool = state.pools[group]
    # The kubelet asks again for every attempt at a sandbox; counted once, and laid out once.
    if operation.id in pool.system:
        return Verdict(Answer.GRANTED)
    pool.system[operation.id] = times(operation.vector, operation.maximum)
    transaction.emit(
        EventType.GRANTED,
        id=operation.id,
        consumer=SYSTEM,
        group=group,
        vector=ordered(operation.vector),
    )
    relayout(pool, transaction)
    reconcile(pool, transaction)
    return Verdict(Answer.GRANTED)
