"""Putting another plan in force: read whole, checked against the node, then laid out (2.10)."""

from collections.abc import Mapping
from typing import Any

from berth.base.quantity import Vector
from nodeagent.allocator.claims.reconcile import reconcile
from nodeagent.allocator.claims.relayout import rebalance, relayout
from nodeagent.allocator.claims.release import forget
from nodeagent.allocator.plan.plan import Group, Plan
from nodeagent.allocator.plan.plan_reading import check_capacity, parse_plan
from nodeagent.allocator.plan.problem import Findings
from nodeagent.allocator.policy.builtin import BUILT_IN
from nodeagent.allocator.policy.frame import PolicyTooSlow
from nodeagent.allocator.state import NodeState
from nodeagent.allocator.transaction import Transaction
from nodeagent.allocator.usage.pool import Pool
from nodeagent.allocator.values.event import EventType
from nodeagent.allocator.values.operation import ApplyPlan, OperationRefused


def read_plan(state: NodeState, operation: ApplyPlan) -> Plan:
    """The plan of an operation, if it may take the place of the one in force.

    Raises DocumentRefused, and OperationRefused for the capacity of a group it does not have.
    """
    plan = parse_plan(operation.document, state.zones)
    names = [group.name for group in plan.groups]
    for name in operation.capacity:
        if name not in names:
            raise OperationRefused("capacity", f"{name!r} is no group", ", ".join(names))
    # Against the capacity from then on: a plan and the slices it needs may come together.
    known = {name: pool.allocatable for name, pool in state.pools.items()}
    check_capacity(plan, {**known, **operation.capacity})
    check_policies(plan, state.policies)
    _check_groups(state, plan)
    return plan


def check_policies(plan: Plan, policies: Any) -> None:
    """Raise DocumentRefused for policies that are not installed or cannot do what a plan asks."""
    findings = Findings()
    for number, group in enumerate(plan.groups):
        path = f"spec.groups[{number}].policy"
        if group.policy in BUILT_IN:
            continue
        if group.policy not in policies:
            names = ", ".join(sorted({*BUILT_IN, *policies}))
            findings.add(path, f"{group.policy!r} is not installed", names)
            continue
        for fault in _faults(policies[group.policy], group):
            findings.add(path, fault, "a plan that this policy can follow")
    findings.refuse_if_any()


def _faults(policy: Any, group: Group) -> list[str]:
    try:
        return [str(fault) for fault in policy.validate(group)]
    except PolicyTooSlow:
        return ["it took too long to validate the plan"]
    except Exception as error:  # whatever foreign code raises must not stop the node
        return [f"it failed to validate the plan: {type(error).__name__}"]


def _check_groups(state: NodeState, plan: Plan) -> None:
    findings = Findings()
    for name in state.pools:
        holding = sum(1 for row in state.allocations.values() if row.group == name and row.held)
        if holding and plan.group(name) is None:
            fault = f"drops group {name!r}, in which {holding} allocations still run"
            findings.add("spec.groups", fault, "the group, until they have ended")
    findings.refuse_if_any()


def change_plan(
    state: NodeState, transaction: Transaction, plan: Plan, capacity: Mapping[str, Vector]
) -> None:
    """Put a plan in force that `read_plan` returned, with what its groups have from now on."""
    _drop_groups(state, transaction, plan)
    before = state.pools
    state.plan = plan
    state.pools = {group.name: _pool(before, group) for group in plan.groups}
    for pool in state.pools.values():
        pool.allocatable = dict(capacity.get(pool.group.name, pool.allocatable))
        pool.choose_window(transaction.now, plan.zone)
        # Before what follows from it, so that whoever reads the events sees the reason first.
        transaction.emit(
            EventType.PLAN_CHANGED, group=pool.group.name, window=pool.window, reason="plan"
        )
        relayout(pool, transaction)
        rebalance(pool, transaction)
        reconcile(pool, transaction)


def _pool(before: dict[str, Pool], group: Group) -> Pool:
    # The same pool: its claims, system pods and blocked units outlive the plan.
    pool = before.get(group.name) or Pool(group, {})
    pool.group = group
    return pool


def _drop_groups(state: NodeState, transaction: Transaction, plan: Plan) -> None:
    """Refuse what waits in groups that go; `read_plan` saw to it that nothing runs there."""
    for allocation in list(state.allocations.values()):
        if plan.group(allocation.group) is None:
            reason = f"the plan has no group {allocation.group}"
            transaction.report(EventType.REFUSED, allocation, reason=reason, shortage={})
            forget(state.pools[allocation.group], transaction, allocation)
