"""What must hold between the consumers of a plan: balance, order of bounds, references (2.10)."""

from collections.abc import Mapping

from berth.base.quantity import Vector, render_quantity
from nodeagent.allocator.plan.consumer import Consumer, Mode, walk
from nodeagent.allocator.plan.problem import Findings, join


def check_tree(
    findings: Findings, consumers: tuple[Consumer, ...], paths: Mapping[str, str], mode: Mode
) -> None:
    """Keep a problem for every bound out of order, unbalanced ownership and dangling name.

    `paths` says where in the document each consumer stands.
    """
    leaf_names = {consumer.name for consumer in walk(consumers) if not consumer.children}
    for consumer in walk(consumers):
        path = paths[consumer.name]
        # In share mode own and reserve count as nothing, so what stands there binds nobody.
        if mode is not Mode.SHARE:
            _check_bounds(findings, path, consumer)
            _check_balance(findings, path, consumer)
        _check_partners(findings, path, "lendTo", consumer, leaf_names)
        _check_partners(findings, path, "borrowFrom", consumer, leaf_names)


def _check_bounds(findings: Findings, path: str, consumer: Consumer) -> None:
    for resource, amount in consumer.reserve.items():
        own = consumer.own.get(resource, 0)
        if amount > own:
            _too_much(findings, join(path, "reserve"), resource, amount, own, "own")
    for resource, amount in consumer.limit.items():
        own = consumer.own.get(resource, 0)
        # Else D*, which holds at least own, would be above the limit for good.
        if amount < own:
            at_least = render_quantity(resource, own)
            fault = f"{render_quantity(resource, amount)} is below own"
            place = join(join(path, "limit"), resource)
            findings.add(place, fault, f"at least {at_least}")


def _check_balance(findings: Findings, path: str, consumer: Consumer) -> None:
    for resource, total in total_own(consumer.children).items():
        own = consumer.own.get(resource, 0)
        # A child's guarantee above its parent's could not be kept: siblings of the parent own the
        # rest. (At the top the capacity takes the parent's place: check_capacity.)
        if total > own:
            place = join(join(path, "own"), resource)
            fault = (
                f"its children own {render_quantity(resource, total)} together, "
                f"more than its {render_quantity(resource, own)}"
            )
            findings.add(place, fault, f"at least {render_quantity(resource, total)}")


def _too_much(
    findings: Findings, path: str, resource: str, amount: int, most: int, bound: str
) -> None:
    fault = f"{render_quantity(resource, amount)} is more than {bound}"
    findings.add(join(path, resource), fault, f"at most {render_quantity(resource, most)}")


def _check_partners(
    findings: Findings, path: str, key: str, consumer: Consumer, leaf_names: set[str]
) -> None:
    partners = consumer.lend_to if key == "lendTo" else consumer.borrow_from
    if not isinstance(partners, frozenset):
        return
    # Of this window: a list that is right by day may name nobody by night.
    for name in sorted(partners - leaf_names):
        fault = f"{name!r} is no leaf consumer of this window"
        findings.add(join(path, key), fault, "names of " + _some(leaf_names))
    if consumer.name in partners:
        fault = f"{consumer.name!r} names itself"
        findings.add(join(path, key), fault, "names of other leaf consumers")


def _some(names: set[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:10]) + (", …" if len(shown) > 10 else "")


def total_own(consumers: tuple[Consumer, ...]) -> Vector:
    """What consumers of one level own together."""
    total: dict[str, int] = {}
    for consumer in consumers:
        for resource, amount in consumer.own.items():
            total[resource] = total.get(resource, 0) + amount
    return total
