"""A request: its group and leaf are found, who may ask is checked, then it is admitted."""

from typing import TYPE_CHECKING

from berth.base.quantity import ordered, times
from nodeagent.allocator.admission import admit, standing
from nodeagent.allocator.allocation import Allocation, State
from nodeagent.allocator.consumer import Order
from nodeagent.allocator.event import Answer, EventType, Verdict
from nodeagent.allocator.grant import grant_whole, report_grant
from nodeagent.allocator.naming import admits
from nodeagent.allocator.operation import Request
from nodeagent.allocator.pool import Pool
from nodeagent.allocator.settling import settle
from nodeagent.allocator.switching import lay_out_again
from nodeagent.allocator.turn import ASK_TTL, Turn

if TYPE_CHECKING:
    from nodeagent.allocator.ledger import Ledger

GRANTED = Verdict(Answer.GRANTED)
SYSTEM = "system"
"""The consumer of static, mirror and system-critical pods: always admitted, off the capacity."""


def request(ledger: "Ledger", turn: Turn, operation: Request) -> Verdict:
    """Admit, or answer where the request stands if it was made before."""
    turn.asking = operation.id
    known = ledger.allocations.get(operation.id)
    if known is not None:
        return _asked_again(ledger.pools[known.group], turn, known)
    if operation.consumer == SYSTEM:
        return _system(ledger, turn, operation)
    pool, leaf = _find(ledger, operation)
    if pool is None or leaf is None:
        return _refuse(turn, operation, f"the plan has no leaf consumer {operation.consumer}")
    if not admits(pool.tree.consumers[leaf], operation.namespace):
        reason = f"{operation.consumer} admits no pods of namespace {operation.namespace!r}"
        return _refuse(turn, operation, reason)
    allocation = _allocation(pool, leaf, turn, operation)
    ledger.allocations[operation.id] = allocation
    if _simple(pool, allocation) and grant_whole(pool, turn, allocation):
        if pool.waiting:
            settle(pool, turn)
        return GRANTED
    before = pool.booked.version
    verdict = admit(pool, turn, allocation)
    if verdict.answer is Answer.REFUSED:
        del ledger.allocations[operation.id]
        return verdict
    if allocation.retry and not allocation.held:
        turn.expire(allocation, turn.now + ASK_TTL)
    if pool.booked.version == before and turn.guard.built_in(pool) is not None:
        # Who waits was at rest before, and this one has just been tried: nobody can be served.
        return verdict
    if not pool.claims and not pool.waiting:
        return verdict
    settle(pool, turn)
    return standing(pool, allocation)


def _simple(pool: Pool, allocation: Allocation) -> bool:
    """Whether a request may be granted for no other reason than that it fits."""
    return (
        allocation.maximum == 1
        and not allocation.firm
        and not pool.lending.restricted
        and pool.group.order is Order.BORROW_FIRST
        and allocation.unit.keys() <= pool.number.keys()
    )


def _find(ledger: "Ledger", operation: Request) -> tuple[Pool | None, int | None]:
    if operation.group:
        pool = ledger.pools.get(operation.group)
        return pool, None if pool is None else pool.tree.leaf(operation.consumer)
    for pool in ledger.pools.values():
        leaf = pool.tree.leaf(operation.consumer)
        if leaf is not None:
            return pool, leaf
    return None, None


def _refuse(turn: Turn, operation: Request, reason: str) -> Verdict:
    turn.emit(
        EventType.REFUSED,
        id=operation.id,
        consumer=operation.consumer,
        group=operation.group,
        reason=reason,
        shortage={},
    )
    return Verdict(Answer.REFUSED, reason)


def _allocation(pool: Pool, leaf: int, turn: Turn, operation: Request) -> Allocation:
    unit = ordered(operation.vector)
    return Allocation(
        id=operation.id,
        group=pool.group.name,
        consumer=operation.consumer,
        unit=unit,
        minimum=operation.minimum,
        maximum=operation.maximum,
        target=unit if operation.maximum == 1 else times(unit, operation.maximum),
        priority=operation.priority,
        firm=operation.firm,
        retry=operation.retry,
        seq=turn.seq,
        leaf=leaf,
    )


def _asked_again(pool: Pool, turn: Turn, allocation: Allocation) -> Verdict:
    if allocation.state is State.STOPPING:
        return standing(pool, allocation)
    if allocation.held and allocation.expires is not None:
        turn.expire(allocation, None)
        if allocation.state is State.EARMARKED:
            allocation.move(State.GRANTED)
        report_grant(pool, turn, allocation, allocation.held)
        pool.refresh(allocation)
    elif allocation.retry and not allocation.held:
        turn.expire(allocation, turn.now + ASK_TTL)
    return standing(pool, allocation)


def _system(ledger: "Ledger", turn: Turn, operation: Request) -> Verdict:
    group = operation.group or next(iter(ledger.pools))
    pool = ledger.pools[group]
    if operation.id in pool.system:
        return Verdict(Answer.GRANTED)
    pool.system[operation.id] = times(operation.vector, operation.maximum)
    turn.emit(
        EventType.GRANTED,
        id=operation.id,
        consumer=SYSTEM,
        group=group,
        vector=ordered(operation.vector),
    )
    lay_out_again(pool, turn)
    settle(pool, turn)
    return Verdict(Answer.GRANTED)
