"""What a state holds, as tables to show: by consumer, by loan, by allocation. Decides nothing."""

from typing import Any

from berth.base.quantity import ordered, plus, times
from nodeagent.allocator.claims.admission import verdict_on
from nodeagent.allocator.state import NodeState
from nodeagent.allocator.tree.lending import loans
from nodeagent.allocator.usage.pool import Pool

Rows = dict[str, dict[str, int]]
"""Amounts in base units by leaf consumer and resource, zeros included."""


def held(state: NodeState) -> Rows:
    """What each leaf uses now; what is being stopped still counts."""
    return _sums(state, "held")


def pending(state: NodeState) -> Rows:
    """What each leaf asks for beyond what it holds."""
    return _sums(state, "missing")


def _sums(state: NodeState, part: str) -> Rows:
    # Leaves of the tree in force: with orphans, so that every allocation finds its row.
    rows: Rows = {}
    for pool in state.pools.values():
        for leaf in pool.tree.leaves:
            rows.setdefault(pool.tree.consumers[leaf].name, dict.fromkeys(pool.resources, 0))
    for _, allocation in sorted(state.allocations.items()):
        row = rows[allocation.consumer]
        for resource, amount in getattr(allocation, part).items():
            row[resource] = row.get(resource, 0) + amount
    return rows


def deserved(state: NodeState) -> Rows:
    """D* of every leaf; a leaf of several groups has the sum."""
    rows: Rows = {}
    for pool in state.pools.values():
        for leaf in pool.tree.leaves:
            row = rows.setdefault(pool.tree.consumers[leaf].name, {})
            for resource, entitlement in zip(pool.resources, pool.entitlements, strict=True):
                row[resource] = row.get(resource, 0) + entitlement.deserved[leaf]
    return rows


def consumers(state: NodeState) -> list[dict[str, Any]]:
    """A row for every consumer of every group, inner ones included, parents first.

    `deadline` is when the last notice to it or claim of it runs out, None without.
    """
    return [row for pool in state.pools.values() for row in _consumer_rows(state, pool)]


def _consumer_rows(state: NodeState, pool: Pool) -> list[dict[str, Any]]:
    waits, reclaimed, deadlines = _under_way(state, pool)
    lent, rows = _lent(pool), []
    used = [pool.used(resource) for resource in range(len(pool.resources))]
    for node in range(1, len(pool.tree.parents)):
        consumer = pool.tree.consumers[node]
        above = pool.tree.consumers[pool.tree.parents[node]].name
        leaf = not pool.tree.children[node]
        # A consumer's `used` leaves reserves out, unlike its weight: people read it as what runs.
        row: dict[str, Any] = {
            "group": pool.group.name,
            "consumer": consumer.name,
            "parent": above,
            "leaf": leaf,
            "own": ordered(consumer.own),
            "deserved": {},
            "used": {},
            "borrowed": {},
            "lent": lent.get(consumer.name, {}),
            "pending": ordered(waits.get(consumer.name, {})),
            "reclaiming": ordered(reclaimed.get(consumer.name, {})),
            "deadline": deadlines.get(consumer.name),
        }
        for resource, name in enumerate(pool.resources):
            plan, use = pool.entitlements[resource].deserved[node], used[resource][node]
            row["deserved"][name], row["used"][name] = plan, use
            row["borrowed"][name] = max(0, use - plan)
        rows.append(row)
    return rows


def _under_way(state: NodeState, pool: Pool) -> tuple[Rows, Rows, dict[str, int]]:
    """By leaf: what it waits for, what it must give back, and by when the last of it is due."""
    waits: Rows = {}
    reclaimed: Rows = {}
    deadlines: dict[str, int] = {}
    for allocation in state.allocations.values():
        if allocation.group == pool.group.name and allocation.missing:
            waits[allocation.consumer] = plus(
                waits.get(allocation.consumer, {}), allocation.missing
            )
    # A claim's deadline concerns both sides: who gives back, and who waits for it.
    for claim in pool.claims.values():
        claimant = state.allocations.get(claim.allocation)
        for notice in claim.notices.values():
            names = [notice.consumer] + ([claimant.consumer] if claimant is not None else [])
            for name in names:
                deadlines[name] = max(deadlines.get(name, 0), notice.deadline)
            for cut in notice.cuts.values():
                reclaimed[notice.consumer] = plus(reclaimed.get(notice.consumer, {}), cut)
    return waits, reclaimed, deadlines


def loan_rows(state: NodeState) -> list[dict[str, Any]]:
    """Who has borrowed how much from whom now, by group and resource (semantics 2.9)."""
    rows = []
    for pool in state.pools.values():
        for resource, name in enumerate(pool.resources):
            found = loans(
                pool.tree, pool.lending, pool.entitlements[resource], pool.current.weight[resource]
            )
            rows += [
                {
                    "group": pool.group.name,
                    "resource": name,
                    "borrower": borrower,
                    "lender": lender,
                    "amount": amount,
                }
                for borrower, lender, amount in found.pairs
            ]
    return rows


def _lent(pool: Pool) -> dict[str, dict[str, int]]:
    lent: dict[str, dict[str, int]] = {}
    for resource, name in enumerate(pool.resources):
        found = loans(
            pool.tree, pool.lending, pool.entitlements[resource], pool.current.weight[resource]
        )
        for _, lender, amount in found.pairs:
            row = lent.setdefault(lender, {})
            row[name] = row.get(name, 0) + amount
    return lent


def explain(state: NodeState, identity: str) -> dict[str, Any] | None:
    """Why an allocation holds, waits or gives back; None for one that is not known."""
    allocation = state.allocations.get(identity)
    if allocation is None:
        return None
    pool = state.pools[allocation.group]
    notices = [
        {
            "notice": notice.id,
            "deadline": notice.deadline,
            "vector": notice.cuts[identity],
            "for": claim.allocation,
            "forced": notice.forced,
        }
        for claim in pool.claims.values()
        for notice in claim.notices.values()
        if identity in notice.cuts
    ]
    portion, least, _ = allocation.portions()
    return {
        **allocation.to_document(),
        "verdict": verdict_on(pool, allocation).to_document(),
        "asks": ordered(times(portion, least)),
        "notices": notices,
    }
