"""The passing of time: windows begin, notices run out, clients that stay away are given up.

What is due is done in the order in which it fell due, each at its own time, so that decisions do
not depend on how often the daemon ticks (I12).
"""

from nodeagent.allocator.claims.reconcile import reconcile
from nodeagent.allocator.claims.relayout import rebalance, relayout
from nodeagent.allocator.claims.release import release
from nodeagent.allocator.reclaim.notices import force_overdue
from nodeagent.allocator.state import NodeState
from nodeagent.allocator.transaction import LATE_AFTER, Transaction
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import EventType


def next_due(state: NodeState) -> int | None:
    """The earliest time (ms) at which something happens by itself; None if nothing will."""
    soonest: int | None = None
    for pool in state.pools.values():
        if pool.boundary is not None and (soonest is None or pool.boundary < soonest):
            soonest = pool.boundary
        if pool.claims:
            due = _notice_due(pool)
            if due is not None and (soonest is None or due < soonest):
                soonest = due
    for allocation in state.expiring.values():
        if allocation.expires is not None and (soonest is None or allocation.expires < soonest):
            soonest = allocation.expires
    return soonest


def _notice_due(pool: Pool) -> int | None:
    # A forced notice is due once more, to be reported as late; a late one never again.
    dues = [
        notice.deadline + (LATE_AFTER if notice.forced else 0)
        for claim in pool.claims.values()
        for notice in claim.notices.values()
        if not notice.late
    ]
    return min(dues, default=None)


def run_due(state: NodeState, transaction: Transaction, now: int) -> None:
    """Do everything that falls due up to and including `now`."""
    while True:
        due = next_due(state)
        if due is None or due > now:
            return
        # A state read back, or an operation with an old time, may find things long overdue.
        transaction.now = max(transaction.now, due)
        _expire(state, transaction)
        for pool in state.pools.values():
            if pool.boundary is not None and pool.boundary <= transaction.now:
                _begin_window(state, pool, transaction)
            if pool.claims:
                force_overdue(pool, transaction)
            reconcile(pool, transaction)


def _begin_window(state: NodeState, pool: Pool, transaction: Transaction) -> None:
    pool.choose_window(transaction.now, state.plan.zone)
    group = pool.group.name
    transaction.emit(EventType.PLAN_CHANGED, group=group, window=pool.window, reason="window")
    relayout(pool, transaction)
    rebalance(pool, transaction)


def _expire(state: NodeState, transaction: Transaction) -> None:
    over = [
        (allocation.expires, key)
        for key, allocation in state.expiring.items()
        if allocation.expires is not None and allocation.expires <= transaction.now
    ]
    # By time, then id: the table is in order of insertion, which a restart changes (I14).
    for _, key in sorted(over):
        allocation = state.expiring[key]
        transaction.report(EventType.EXPIRED, allocation, reason="its client did not come back")
        release(state.pools[allocation.group], transaction, allocation, None, True)
