"""The passing of time: windows begin, notices run out, clients that do not come back are given up.

What is due is done in the order in which it fell due, each at its own time, so that decisions do
not depend on how often somebody looks.
"""

from typing import TYPE_CHECKING

from nodeagent.allocator.event import EventType
from nodeagent.allocator.noticing import run_out
from nodeagent.allocator.pool import Pool
from nodeagent.allocator.releasing import release
from nodeagent.allocator.settling import settle
from nodeagent.allocator.switching import lay_out_again, rebalance
from nodeagent.allocator.turn import LEEWAY, Turn

if TYPE_CHECKING:
    from nodeagent.allocator.ledger import Ledger


def next_due(ledger: "Ledger") -> int | None:
    """The earliest time at which something happens by itself; None if nothing will."""
    soonest: int | None = None
    for pool in ledger.pools.values():
        if pool.boundary is not None and (soonest is None or pool.boundary < soonest):
            soonest = pool.boundary
        if pool.claims:
            due = _notice_due(pool)
            if due is not None and (soonest is None or due < soonest):
                soonest = due
    for allocation in ledger.expiring.values():
        if allocation.expires is not None and (soonest is None or allocation.expires < soonest):
            soonest = allocation.expires
    return soonest


def _notice_due(pool: Pool) -> int | None:
    dues = [
        notice.deadline + (LEEWAY if notice.forced else 0)
        for claim in pool.claims.values()
        for notice in claim.notices.values()
        if not notice.late
    ]
    return min(dues, default=None)


def pass_time(ledger: "Ledger", turn: Turn, now: int) -> None:
    """Do everything that falls due up to and including `now`."""
    while True:
        due = next_due(ledger)
        if due is None or due > now:
            return
        turn.now = max(turn.now, due)
        _expire(ledger, turn)
        for pool in ledger.pools.values():
            if pool.boundary is not None and pool.boundary <= turn.now:
                _begin_window(ledger, pool, turn)
            if pool.claims:
                run_out(pool, turn)
            settle(pool, turn)


def _begin_window(ledger: "Ledger", pool: Pool, turn: Turn) -> None:
    pool.choose_window(turn.now, ledger.plan.zone)
    group = pool.group.name
    turn.emit(EventType.PLAN_CHANGED, group=group, window=pool.window, reason="window")
    lay_out_again(pool, turn)
    rebalance(pool, turn)


def _expire(ledger: "Ledger", turn: Turn) -> None:
    over = [
        (allocation.expires, key)
        for key, allocation in ledger.expiring.items()
        if allocation.expires is not None and allocation.expires <= turn.now
    ]
    for _, key in sorted(over):
        allocation = ledger.expiring[key]
        turn.report(EventType.EXPIRED, allocation, reason="its client did not come back")
        release(ledger.pools[allocation.group], turn, allocation, None, True)
