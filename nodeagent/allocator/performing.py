"""Performing one operation on a ledger: checked first, then done, then everything comes to rest."""

from typing import TYPE_CHECKING, assert_never

from berth.base.quantity import ordered
from nodeagent.allocator.allocation import Allocation, State
from nodeagent.allocator.claim import Claim, Notice
from nodeagent.allocator.event import Answer, EventType, Verdict
from nodeagent.allocator.noticing import settle_state
from nodeagent.allocator.offering import offer
from nodeagent.allocator.operation import (
    ApplyPlan,
    Block,
    Cancel,
    Modify,
    Offer,
    Operation,
    OperationRefused,
    Release,
    Request,
    SetCapacity,
    Stopping,
    Tick,
    Unblock,
)
from nodeagent.allocator.plan import Plan
from nodeagent.allocator.planning import change_plan, read_plan
from nodeagent.allocator.pool import Pool
from nodeagent.allocator.releasing import cancel, modify, release
from nodeagent.allocator.requesting import SYSTEM, request
from nodeagent.allocator.settling import settle
from nodeagent.allocator.switching import lay_out_again
from nodeagent.allocator.turn import Turn

if TYPE_CHECKING:
    from nodeagent.allocator.ledger import Ledger

_DONE = Verdict(Answer.DONE)
_GONE = Verdict(Answer.DONE, "ended before")


def check(ledger: "Ledger", operation: Operation) -> Plan | None:
    """Refuse what names nothing that exists, before anything changes; the plan to be applied."""
    match operation:
        case Request():
            if operation.group:
                _pool(ledger, operation.group)
        case Release():
            known = operation.id in ledger.allocations
            if not known and not any(operation.id in row.system for row in ledger.pools.values()):
                _known(ledger, operation.id)
        case ApplyPlan():
            return read_plan(ledger, operation)
        case Modify() | Cancel() | Stopping():
            _known(ledger, operation.id)
        case Offer():
            if notice_of(ledger, operation.notice) is None:
                raise OperationRefused("notice", "is no open notice", "the id of an open notice")
        case Block() | Unblock() | SetCapacity():
            _pool(ledger, operation.group)
        case Tick():
            pass
        case _:
            assert_never(operation)
    return None


def _known(ledger: "Ledger", identity: str) -> None:
    if identity not in ledger.allocations:
        fault = f"{identity!r} is no allocation"
        raise OperationRefused("id", fault, "the id of an allocation that has not ended")


def _pool(ledger: "Ledger", name: str) -> Pool:
    """The group of that name; the first one where none is named."""
    pool = ledger.pools.get(name) if name else next(iter(ledger.pools.values()))
    if pool is None:
        raise OperationRefused("group", f"{name!r} is no group", ", ".join(ledger.pools))
    return pool


def notice_of(ledger: "Ledger", identity: str) -> tuple[Pool, Claim, Notice] | None:
    """An open notice and where it belongs."""
    for pool in ledger.pools.values():
        for claim in pool.claims.values():
            if identity in claim.notices:
                return pool, claim, claim.notices[identity]
    return None


def perform(ledger: "Ledger", turn: Turn, operation: Operation, prepared: Plan | None) -> Verdict:
    """Do what an operation says. What ended while time passed is answered as done."""
    match operation:
        case Request():
            return request(ledger, turn, operation)
        case Release():
            return _release(ledger, turn, operation)
        case Modify() | Cancel() | Stopping():
            allocation = ledger.allocations.get(operation.id)
            return _GONE if allocation is None else _change(ledger, turn, operation, allocation)
        case Offer():
            return _offer(ledger, turn, operation)
        case Block() | Unblock() | SetCapacity():
            return _resize(_pool(ledger, operation.group), turn, operation)
        case ApplyPlan():
            assert prepared is not None
            change_plan(ledger, turn, prepared, operation.capacity)
            return _DONE
        case Tick():
            return _DONE
        case _:
            assert_never(operation)


def _release(ledger: "Ledger", turn: Turn, operation: Release) -> Verdict:
    allocation = ledger.allocations.get(operation.id)
    if allocation is None:
        return _release_system(ledger, turn, operation)
    pool = ledger.pools[allocation.group]
    freed = release(pool, turn, allocation, operation.vector, operation.autoadjust)
    if operation.block and freed:
        pool.blocked[operation.block] = ordered(freed)
        return _laid_out(pool, turn)
    if pool.claims or pool.waiting:
        settle(pool, turn)
    return _DONE


def _release_system(ledger: "Ledger", turn: Turn, operation: Release) -> Verdict:
    for pool in ledger.pools.values():
        if pool.system.pop(operation.id, None) is not None:
            turn.emit(EventType.FREED, id=operation.id, consumer=SYSTEM, group=pool.group.name)
            return _laid_out(pool, turn)
    return _GONE


def _laid_out(pool: Pool, turn: Turn) -> Verdict:
    lay_out_again(pool, turn)
    settle(pool, turn)
    return _DONE


def _change(
    ledger: "Ledger", turn: Turn, operation: Modify | Cancel | Stopping, allocation: Allocation
) -> Verdict:
    pool = ledger.pools[allocation.group]
    verdict = _DONE
    match operation:
        case Modify():
            verdict = modify(pool, turn, allocation, *_wanted(allocation, operation))
        case Cancel():
            cancel(pool, turn, allocation)
        case Stopping():
            _stop(pool, allocation)
        case _:
            assert_never(operation)
    settle(pool, turn)
    return verdict


def _wanted(allocation: Allocation, operation: Modify) -> tuple[dict[str, int], tuple[int, int]]:
    """The unit and the counts that a modification asks for."""
    unit = dict(allocation.unit if operation.vector is None else operation.vector)
    for name, amount in (operation.delta or {}).items():
        unit[name] = max(0, unit.get(name, 0) + amount)
    least = allocation.minimum if operation.minimum is None else operation.minimum
    most = max(least, allocation.maximum) if operation.maximum is None else operation.maximum
    return ordered(unit), (min(least, most), most)


def _stop(pool: Pool, allocation: Allocation) -> None:
    if allocation.state is State.NOTICED:
        allocation.move(State.STOPPING)
    settle_state(pool, allocation)


def _offer(ledger: "Ledger", turn: Turn, operation: Offer) -> Verdict:
    found = notice_of(ledger, operation.notice)
    if found is None:
        return _GONE
    pool, claim, notice = found
    fault = offer(pool, turn, claim, notice, operation.entries)
    settle(pool, turn)
    return Verdict(Answer.REFUSED, fault) if fault else _DONE


def _resize(pool: Pool, turn: Turn, operation: Block | Unblock | SetCapacity) -> Verdict:
    match operation:
        case Block():
            pool.blocked[operation.unit] = ordered(operation.vector)
        case Unblock():
            pool.blocked.pop(operation.unit, None)
        case SetCapacity():
            pool.allocatable = dict(operation.vector)
        case _:
            assert_never(operation)
    return _laid_out(pool, turn)
