"""Checking what a policy plug-in returns against the invariants, before it is used (2.13)."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, TypeVar

from nodeagent.allocator.policy.victims import Targets
from nodeagent.allocator.tree.targets import Demand
from nodeagent.allocator.usage.pool import Pool

Item = TypeVar("Item", bound=Hashable)


class AnswerRefused(ValueError):
    """A plug-in returned something outside the invariants; the text says what."""


def check_order(answer: Iterable[Item], expected: Mapping[Item, object]) -> list[Item]:
    """What a plug-in returned, if it names everything expected once. Raises AnswerRefused."""
    order = list(answer)
    if len(order) != len(expected) or set(order) != set(expected):
        raise AnswerRefused("does not name everything once")
    return order


def check_targets(
    pool: Pool, demands: Mapping[int, Demand], answer: Mapping[str, Mapping[str, Any]]
) -> Targets:
    """What a plug-in returned as targets by node, if every invariant holds. Raises AnswerRefused.

    Checked: a leaf gets no more than it asks for, nothing is negative (I1); sums stay within caps
    and capacity with reserves standing (I3, I5); every consumer gets at least the smaller of its
    demand and its plan (I4, from which I7 follows).
    """
    found: Targets = {}
    for resource, demand in demands.items():
        goals = _leaf_goals(pool, resource, demand, answer)
        _check_tree(pool, resource, demand, goals)
        found[resource] = goals
    return found


def _leaf_goals(
    pool: Pool, resource: int, demand: Demand, answer: Mapping[str, Mapping[str, Any]]
) -> list[int]:
    goals = [0] * len(pool.tree.parents)
    for leaf in pool.tree.leaves:
        name = pool.tree.consumers[leaf].name
        goal = answer.get(name, {}).get(pool.resources[resource], 0)
        # Foreign data: a float or a bool would spread through all sums from here.
        if goal.__class__ is not int or not 0 <= goal <= demand.capped[leaf]:
            raise AnswerRefused(f"I1: gives {name} what it did not ask for")
        goals[leaf] = goal
    return goals


def _check_tree(pool: Pool, resource: int, demand: Demand, goals: list[int]) -> None:
    entitlement, tree = pool.entitlements[resource], pool.tree
    size = len(goals)
    asked, weight = [0] * size, [0] * size
    # Bottom-up, as the roll-up does: a plug-in names leaves only, and what it gives inner consumers
    # is the sum, with reserves standing.
    for node in range(size - 1, -1, -1):
        if not tree.children[node]:
            asked[node], weight[node] = demand.capped[node], goals[node]
        asked[node] = min(asked[node], entitlement.cap[node])
        weight[node] = max(weight[node], entitlement.hold[node])
        name = tree.consumers[node].name
        if weight[node] > entitlement.cap[node]:
            raise AnswerRefused(f"I3: {name} would exceed its bound")
        if goals[node] < min(asked[node], entitlement.deserved[node]):
            raise AnswerRefused(f"I4: {name} would get less than its plan")
        if node:
            above = tree.parents[node]
            asked[above] += asked[node]
            weight[above] += weight[node]
            goals[above] += goals[node]
