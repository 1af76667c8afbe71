"""Responses of the agent and results of a simulation: tables for people, JSON for scripts."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from berth.base.quantity import render_quantity
from berth.base.tables import aligned
from berth.base.timestamps import render_time
from berth.pb import node_v1_pb2 as pb

_COLUMNS = ("own", "deserved", "used", "borrowed", "lent", "pending")


def status_json(status: pb.StatusResponse) -> str:
    """The status as JSON; amounts are numbers in base units, times unix nanoseconds."""
    document = {
        "plan": status.plan,
        "cursor": status.cursor,
        "groups": [_group(group) for group in status.groups],
    }
    return json.dumps(document, indent=2)


def _group(group: pb.Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "mode": group.mode,
        "capacity": dict(sorted(group.capacity.items())),
        "free": dict(sorted(group.free.items())),
        "policy_fallbacks": group.policy_fallbacks,
        "consumers": [_consumer(consumer) for consumer in group.consumers],
        "loans": [
            {
                "resource": loan.resource,
                "borrower": loan.borrower,
                "lender": loan.lender,
                "amount": loan.amount,
            }
            for loan in group.loans
        ],
    }


def _consumer(consumer: pb.Consumer) -> dict[str, Any]:
    vectors = {name: dict(sorted(getattr(consumer, name).items())) for name in _COLUMNS}
    return {
        "name": consumer.name,
        "parent": consumer.parent,
        "leaf": consumer.leaf,
        **vectors,
        "deadline": consumer.deadline,
    }


def status_table(status: pb.StatusResponse) -> str:
    """One row for each consumer and resource, children below their parents; then the loans."""
    rows = [("GROUP", "CONSUMER", "RESOURCE", *map(str.upper, _COLUMNS), "DEADLINE")]
    for group in status.groups:
        depths: dict[str, int] = {}
        for consumer in group.consumers:
            depths[consumer.name] = depths.get(consumer.parent, -1) + 1
            rows += _rows(group, consumer, depths[consumer.name])
    tables = [aligned(rows)]
    loans = [
        (group.name, it.borrower, it.lender, it.resource, render_quantity(it.resource, it.amount))
        for group in status.groups
        for it in group.loans
    ]
    if loans:
        tables.append(aligned([("GROUP", "BORROWER", "LENDER", "RESOURCE", "AMOUNT"), *loans]))
    return "\n\n".join(tables)


def _rows(group: pb.Group, consumer: pb.Consumer, depth: int) -> Iterable[tuple[str, ...]]:
    vectors: list[Mapping[str, int]] = [getattr(consumer, column) for column in _COLUMNS]
    for resource in sorted(group.capacity):
        amounts = [render_quantity(resource, vector.get(resource, 0)) for vector in vectors]
        name = "  " * depth + consumer.name
        yield (group.name, name, resource, *amounts, _moment(consumer.deadline))


def steps_table(result: Mapping[str, Any]) -> str:
    """The steps of a simulation: what each consumer holds and waits for, then what happened."""
    blocks = []
    for step in result["steps"]:
        rows = [("AT", "CONSUMER", "RESOURCE", "DESERVED", "HELD", "PENDING")]
        for consumer, vector in step["held"].items():
            rows += [
                (
                    step["at"],
                    consumer,
                    resource,
                    str(step["deserved"].get(consumer, {}).get(resource, 0)),
                    str(amount),
                    str(step["pending"].get(consumer, {}).get(resource, 0)),
                )
                for resource, amount in vector.items()
            ]
        counts = Counter(event["type"] for event in step["events"])
        happened = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        blocks.append(aligned(rows) + (f"\n{happened}" if happened else ""))
    blocks += [
        f"{failed['at']}: {failed['path']}: expected {failed['consumer']} to hold "
        f"{failed['expected']} {failed['resource']}, it holds {failed['held']}"
        for failed in result["failed_expectations"]
    ]
    return "\n\n".join(blocks)


def _moment(nanoseconds: int) -> str:
    """A time for people, `-` where there is none."""
    return render_time(nanoseconds // 10**9) if nanoseconds else "-"
