"""The invariants of docs/semantics.md (2.14), checked on an allocator at rest."""

from berth.base.quantity import times
from nodeagent.allocator.allocator import Allocator
from nodeagent.allocator.claims.admission import admissible
from nodeagent.allocator.usage.allocation import MOVES, State
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import Decision, EventType


def check_all(allocator: Allocator) -> None:
    """I1, I2, I3, I5, I8, I9 and that both usages are what a recount gives."""
    for pool in allocator.pools.values():
        check_plan(pool)
        check_capacity(allocator, pool)
        check_recount(allocator, pool)
        check_work_conserved(pool)
        check_necessary(allocator, pool)
        check_states(allocator, pool)


def check_plan(pool: Pool) -> None:
    """I3: what children deserve is within what their parent deserves; holds are within it."""
    for entitlement in pool.entitlements:
        for node in pool.tree.inner:
            below = sum(entitlement.deserved[child] for child in pool.tree.children[node])
            assert below <= entitlement.deserved[node]
        for hold, deserved in zip(entitlement.hold, entitlement.deserved, strict=True):
            assert 0 <= hold <= deserved


def check_capacity(allocator: Allocator, pool: Pool) -> None:
    """I1 and I5: what is used fits, reserves standing; after a loss of capacity, once reclaimed."""
    for resource, name in enumerate(pool.resources):
        used = sum(
            row.held.get(name, 0)
            for row in allocator.allocations.values()
            if row.group == pool.group.name
        )
        capacity = pool.capacity[resource]
        fixed = any(row.firm for row in allocator.allocations.values())
        leaving = sum(pool.leaving(key).get(name, 0) for key in allocator.allocations)
        assert used - leaving <= capacity or fixed
        if not fixed:
            assert pool.projected.upward(resource, 0) <= capacity


def check_recount(allocator: Allocator, pool: Pool) -> None:
    """I2 and I14: both usages are what entering everything anew gives."""
    projected = [list(row) for row in pool.projected.weight]
    current = [list(row) for row in pool.current.weight]
    members = [sorted(row) for row in pool.members]
    waiting = {leaf: sorted(row) for leaf, row in pool.waiting.items()}
    names = pool.resources
    pool.lay_out(allocator.allocations.values())
    assert [sorted(row) for row in pool.members] == members
    assert {leaf: sorted(row) for leaf, row in pool.waiting.items()} == waiting
    for number, name in enumerate(names):
        if name in pool.number:
            assert pool.projected.weight[pool.number[name]] == projected[number]
            assert pool.current.weight[pool.number[name]] == current[number]
        else:
            assert not any(current[number])


def check_work_conserved(pool: Pool) -> None:
    """I9: nobody waits for what is free."""
    for queue in pool.waiting.values():
        for allocation in queue.values():
            portion, least, _ = allocation.portions()
            pairs = pool.pairs(times(portion, least))
            assert not admissible(pool, allocation, pairs), allocation.id


def check_necessary(allocator: Allocator, pool: Pool) -> None:
    """I8: every notice that can still be cancelled is needed."""
    for claim in pool.claims.values():
        for notice in claim.notices.values():
            for key, cut in notice.cuts.items():
                allocation = allocator.allocations[key]
                if notice.forced or claim.pinned or allocation.state is State.STOPPING:
                    continue
                pairs = pool.pairs(cut)
                fits = pool.projected.fits(allocation.leaf, pairs)
                assert not fits or pool.unfunded(allocation.leaf, pairs)


def check_states(allocator: Allocator, pool: Pool) -> None:
    """States agree with what is held, claimed and under notice."""
    for row in allocator.allocations.values():
        if row.group != pool.group.name:
            continue
        leaving = pool.leaving(row.id)
        assert row.state in MOVES
        assert bool(row.held) == (row.state not in (State.PENDING, State.RECLAIMING))
        assert (row.state is State.NOTICED) <= bool(leaving)
        assert not leaving or row.state in (State.NOTICED, State.STOPPING)
        assert all(row.held.get(name, 0) >= amount for name, amount in leaving.items())
        assert (row.state is State.RECLAIMING) <= bool(row.claim)
        assert not row.claim or pool.claims[row.claim].allocation == row.id
        waits = row.id in pool.waiting.get(row.leaf, {})
        assert waits == bool(row.missing and not row.claim and not row.stopping)


def check_protection(allocator: Allocator, decision: Decision) -> None:
    """I7: whoever is given notice was above its plan before, in something that was short."""
    for event in decision.events:
        if event.type is not EventType.RECLAIM_NOTICE:
            continue
        pool = allocator.pools[event.fields["group"]]
        claim = pool.claims.get(event.fields["claim"])
        if claim is None:
            continue
        leaf = pool.tree.index[event.fields["consumer"]]
        above = False
        for name in claim.short:
            resource = pool.number[name]
            returned = sum(
                cut.get(name, 0)
                for other in pool.claims.values()
                for notice in other.notices.values()
                if notice.consumer == event.fields["consumer"]
                for cut in notice.cuts.values()
            )
            used = pool.projected.weight[resource][leaf] + returned
            above = above or used > pool.entitlements[resource].deserved[leaf]
        assert above, event
