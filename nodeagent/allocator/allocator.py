"""The allocator: the state of the node's allocation, changed by one operation at a time.

An operation is checked first, so that a refusal changes nothing; then time passes up to its `now`;
then it is done, and its group is brought to rest.

Deterministic (I12 of docs/semantics.md): the same plan, capacity and log of (operation, now, seq)
give byte-identical decisions. Time and numbers are arguments, times are integer milliseconds,
amounts base units.
"""

from collections.abc import Iterable
from typing import assert_never

from berth.base.quantity import ordered
from nodeagent.allocator.claims.reconcile import reconcile
from nodeagent.allocator.claims.relayout import relayout
from nodeagent.allocator.claims.release import cancel, modify, release
from nodeagent.allocator.plan.plan import Plan
from nodeagent.allocator.plan_change import change_plan, read_plan
from nodeagent.allocator.reclaim.notices import refresh_state
from nodeagent.allocator.reclaim.offers import offer
from nodeagent.allocator.requests import SYSTEM, request
from nodeagent.allocator.state import NodeState
from nodeagent.allocator.timers import next_due, run_due
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.allocation import Allocation, State
from nodeagent.allocator.usage.claim import Notice
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import Answer, Decision, EventType, Verdict
from nodeagent.allocator.values.operation import (
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

_DONE = Verdict(Answer.DONE)
_GONE = Verdict(Answer.DONE, "ended before")


class Allocator(NodeState):
    """The state, and the one way to change it."""

    # One operation, from top to bottom:
    #
    #   _check ──► run_due ──► _dispatch ──► reconcile ──► Decision
    #   refuse,    windows,    requests,     cancel needless notices, give freed units
    #   or touch   notices,    plan_change,  to claims, grant, claim; until nothing changes
    #   nothing    expiries    claims
    #
    # The daemon journals the operation with its number and time, not what came of it: after
    # kill -9 the same operations are applied again, and must come to the same decisions (I12).

    def apply(
        self,
        operation: Operation,
        now: int,
        seq: int,
        *,
        fallbacks: Iterable[int] | None = None,
    ) -> Decision:
        """Let time pass up to `now`, do one operation and bring its group to rest.

        `seq` grows with every operation of the log. A `now` before the last one counts as the
        last one. `fallbacks` None asks policy plug-ins live; a replay passes those of the recorded
        decision. Raises OperationRefused or DocumentRefused, and then nothing has changed.
        """
        # Claims and notices are named after the number, so giving one twice would mix them up.
        if seq <= self.seq:
            raise OperationRefused("seq", f"{seq} was given before", f"more than {self.seq}")
        prepared = _check(self, operation)
        replayed = None if fallbacks is None else frozenset(fallbacks)
        guard = self.guard
        # Before time passes: windows and deadlines ask policies too, and calls are counted from
        # the beginning of the operation.
        guard.begin(replayed)
        now = max(now, self.now)
        # What falls due up to now comes first, each at its own time: the decision must not depend
        # on whether a tick came in between.
        transaction = Transaction(self.now, seq, self.allocations, guard, self.expiring)
        run_due(self, transaction, now)
        transaction.now = self.now = now
        verdict = _dispatch(self, transaction, operation, prepared)
        self.seq = seq
        for fallback in guard.fallbacks:
            transaction.emit(
                EventType.POLICY_FALLBACK,
                group=fallback.group,
                policy=fallback.policy,
                call=fallback.call,
                reason=fallback.reason,
            )
        return Decision(seq, now, verdict, tuple(transaction.events), tuple(guard.failed))

    def next_due(self) -> int | None:
        """When something happens by itself next, in milliseconds: a Tick is due then."""
        return next_due(self)


def _check(state: NodeState, operation: Operation) -> Plan | None:
    """Refuse what names nothing that exists; returns the plan to be applied, if it is one.

    Before anything changes, so that a refused operation is none: it is not journaled, and its `seq`
    may be given again.
    """
    match operation:
        case Request():
            if operation.group:
                _pool(state, operation.group)
        case Release():
            known = operation.id in state.allocations
            if not known and not any(operation.id in row.system for row in state.pools.values()):
                _known(state, operation.id)
        case ApplyPlan():
            return read_plan(state, operation)
        case Modify() | Cancel() | Stopping():
            _known(state, operation.id)
        case Offer():
            if _notice_of(state, operation.notice) is None:
                raise OperationRefused("notice", "is no open notice", "the id of an open notice")
        case Block() | Unblock() | SetCapacity():
            _pool(state, operation.group)
        case Tick():
            pass
        case _:
            assert_never(operation)
    return None


def _known(state: NodeState, identity: str) -> None:
    if identity not in state.allocations:
        fault = f"{identity!r} is no allocation"
        raise OperationRefused("id", fault, "the id of an allocation that has not ended")


def _pool(state: NodeState, name: str) -> Pool:
    """The group of that name; the first one where none is named."""
    pool = state.pools.get(name) if name else next(iter(state.pools.values()))
    if pool is None:
        raise OperationRefused("group", f"{name!r} is no group", ", ".join(state.pools))
    return pool


def _notice_of(state: NodeState, identity: str) -> tuple[Pool, Notice] | None:
    """An open notice and its group."""
    for pool in state.pools.values():
        for claim in pool.claims.values():
            if identity in claim.notices:
                return pool, claim.notices[identity]
    return None


def _dispatch(
    state: NodeState, transaction: Transaction, operation: Operation, prepared: Plan | None
) -> Verdict:
    """Do what an operation says.

    Letting time pass may have ended what `_check` found: then it is done already.
    """
    match operation:
        case Request():
            return request(state, transaction, operation)
        case Release():
            return _release(state, transaction, operation)
        case Modify() | Cancel() | Stopping():
            allocation = state.allocations.get(operation.id)
            return (
                _GONE if allocation is None else _change(state, transaction, operation, allocation)
            )
        case Offer():
            return _offer(state, transaction, operation)
        case Block() | Unblock() | SetCapacity():
            return _resize(_pool(state, operation.group), transaction, operation)
        case ApplyPlan():
            assert prepared is not None
            change_plan(state, transaction, prepared, operation.capacity)
            return _DONE
        case Tick():
            return _DONE
        case _:
            assert_never(operation)


def _release(state: NodeState, transaction: Transaction, operation: Release) -> Verdict:
    allocation = state.allocations.get(operation.id)
    if allocation is None:
        return _release_system(state, transaction, operation)
    pool = state.pools[allocation.group]
    freed = release(pool, transaction, allocation, operation.vector, operation.autoadjust)
    # Withheld in the same operation in which it came free, so that nobody gets a sick device
    # between its release and a Block.
    if operation.block and freed:
        pool.blocked[operation.block] = ordered(freed)
        return _laid_out(pool, transaction)
    # Without either nobody could use what came free.
    if pool.claims or pool.waiting:
        reconcile(pool, transaction)
    return _DONE


def _release_system(state: NodeState, transaction: Transaction, operation: Release) -> Verdict:
    for pool in state.pools.values():
        if pool.system.pop(operation.id, None) is not None:
            transaction.emit(
                EventType.FREED, id=operation.id, consumer=SYSTEM, group=pool.group.name
            )
            return _laid_out(pool, transaction)
    return _GONE


def _laid_out(pool: Pool, transaction: Transaction) -> Verdict:
    relayout(pool, transaction)
    reconcile(pool, transaction)
    return _DONE


def _change(
    state: NodeState,
    transaction: Transaction,
    operation: Modify | Cancel | Stopping,
    allocation: Allocation,
) -> Verdict:
    pool = state.pools[allocation.group]
    verdict = _DONE
    match operation:
        case Modify():
            verdict = modify(pool, transaction, allocation, *_wanted(allocation, operation))
        case Cancel():
            cancel(pool, transaction, allocation)
        case Stopping():
            _stop(pool, allocation)
        case _:
            assert_never(operation)
    reconcile(pool, transaction)
    return verdict


def _wanted(allocation: Allocation, operation: Modify) -> tuple[dict[str, int], tuple[int, int]]:
    """The unit and the counts that a modification asks for."""
    unit = dict(allocation.unit if operation.vector is None else operation.vector)
    for name, amount in (operation.delta or {}).items():
        unit[name] = max(0, unit.get(name, 0) + amount)
    # A new maximum alone below the minimum lowers that too: it says how much is wanted at all.
    least = allocation.minimum if operation.minimum is None else operation.minimum
    most = max(least, allocation.maximum) if operation.maximum is None else operation.maximum
    return ordered(unit), (min(least, most), most)


def _stop(pool: Pool, allocation: Allocation) -> None:
    # Only what is under notice: the node stops other pods for reasons of its own, and says so
    # with a release.
    if allocation.state is State.NOTICED:
        allocation.move(State.STOPPING)
    refresh_state(pool, allocation)


def _offer(state: NodeState, transaction: Transaction, operation: Offer) -> Verdict:
    found = _notice_of(state, operation.notice)
    if found is None:
        return _GONE
    pool, notice = found
    fault = offer(pool, transaction, notice, operation.entries)
    reconcile(pool, transaction)
    return Verdict(Answer.REFUSED, fault) if fault else _DONE


def _resize(
    pool: Pool, transaction: Transaction, operation: Block | Unblock | SetCapacity
) -> Verdict:
    match operation:
        case Block():
            pool.blocked[operation.unit] = ordered(operation.vector)
        case Unblock():
            pool.blocked.pop(operation.unit, None)
        case SetCapacity():
            pool.allocatable = dict(operation.vector)
        case _:
            assert_never(operation)
    return _laid_out(pool, transaction)
