"""Putting another plan in force: read whole, checked against the node, then every group anew."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from berth.base.quantity import Vector
from nodeagent.allocator.event import EventType
from nodeagent.allocator.operation import ApplyPlan, OperationRefused
from nodeagent.allocator.plan import Group, Plan
from nodeagent.allocator.plan_reading import check_capacity, parse_plan
from nodeagent.allocator.policies import BUILT_IN
from nodeagent.allocator.policy import PolicyTooSlow
from nodeagent.allocator.pool import Pool
from nodeagent.allocator.problem import Findings
from nodeagent.allocator.releasing import forget
from nodeagent.allocator.settling import settle
from nodeagent.allocator.switching import lay_out_again, rebalance
from nodeagent.allocator.turn import Turn

if TYPE_CHECKING:
    from nodeagent.allocator.ledger import Ledger


def read_plan(ledger: "Ledger", operation: ApplyPlan) -> Plan:
    """A plan that may take the place of the one in force.

    Raises DocumentRefused, and OperationRefused for the capacity of a group that it has not.
    """
    plan = parse_plan(operation.document, ledger.zones)
    names = [group.name for group in plan.groups]
    for name in operation.capacity:
        if name not in names:
            raise OperationRefused("capacity", f"{name!r} is no group", ", ".join(names))
    known = {name: pool.allocatable for name, pool in ledger.pools.items()}
    check_capacity(plan, {**known, **operation.capacity})
    check_policies(plan, ledger.policies)
    _check_groups(ledger, plan)
    return plan


def check_policies(plan: Plan, policies: Any) -> None:
    """Refuse a plan that names a policy nobody has, or one that cannot do what the plan asks."""
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


def _check_groups(ledger: "Ledger", plan: Plan) -> None:
    findings = Findings()
    for name in ledger.pools:
        holding = sum(1 for row in ledger.allocations.values() if row.group == name and row.held)
        if holding and plan.group(name) is None:
            fault = f"drops group {name!r}, in which {holding} allocations still run"
            findings.add("spec.groups", fault, "the group, until they have ended")
    findings.refuse_if_any()


def change_plan(ledger: "Ledger", turn: Turn, plan: Plan, capacity: Mapping[str, Vector]) -> None:
    """Put a plan in force that was read by `read_plan`, with what its groups have."""
    _drop_groups(ledger, turn, plan)
    before = ledger.pools
    ledger.plan = plan
    ledger.pools = {group.name: _pool(before, group) for group in plan.groups}
    for pool in ledger.pools.values():
        pool.allocatable = dict(capacity.get(pool.group.name, pool.allocatable))
        pool.choose_window(turn.now, plan.zone)
        turn.emit(EventType.PLAN_CHANGED, group=pool.group.name, window=pool.window, reason="plan")
        lay_out_again(pool, turn)
        rebalance(pool, turn)
        settle(pool, turn)


def _pool(before: dict[str, Pool], group: Group) -> Pool:
    pool = before.get(group.name) or Pool(group, {})
    pool.group = group
    return pool


def _drop_groups(ledger: "Ledger", turn: Turn, plan: Plan) -> None:
    """Who only waits in a group that goes is refused."""
    for allocation in list(ledger.allocations.values()):
        if plan.group(allocation.group) is None:
            reason = f"the plan has no group {allocation.group}"
            turn.report(EventType.REFUSED, allocation, reason=reason, shortage={})
            forget(ledger.pools[allocation.group], turn, allocation)
