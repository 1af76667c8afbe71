"""Reading the events of a scenario: requests, changes, expectations, each with its path."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from berth.base.duration import DurationError, parse_duration
from berth.base.quantity import Vector
from nodeagent.allocator.plan.consumer import leaves
from nodeagent.allocator.plan.consumer_reading import read_vector
from nodeagent.allocator.plan.plan import Plan
from nodeagent.allocator.plan.problem import Findings, join

_MOST_EVENTS = 100_000
_MOST_PARTS = 100_000
_REQUEST = ("id", "consumer", "count", "group", "minimum", "maximum", "priority", "namespace")
_ACTIONS = ("request", "modify", "cancel", "release", "capacity", "plan", "expect")


@dataclass(frozen=True, slots=True)
class ScenarioRequest:
    """A request of a scenario: `count` allocations of `vector` each, or a change of one."""

    id: str
    consumer: str
    vector: Vector
    count: int = 1
    firm: bool = False
    group: str = ""
    minimum: int = 1
    maximum: int = 1
    priority: int = 0
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class ScenarioEvent:
    """One event of a scenario, `at` milliseconds after the start; `value` by `action`."""

    at: int
    action: str
    value: Any
    path: str


def read_capacity(findings: Findings, path: str, value: object, plan: Plan) -> dict[str, Vector]:
    """By group: `{slots: 20}` where there is one group, else `{group: {slots: 20}}`."""
    rows = findings.mapping(path, value, "quantities by resource, or by group and resource")
    if rows is None:
        return {}
    names = [group.name for group in plan.groups]
    if not rows or not all(isinstance(row, Mapping) for row in rows.values()):
        if len(names) > 1:
            findings.add(path, "names no group", "quantities by group: " + ", ".join(names))
        return {names[0]: read_vector(findings, path, rows)}
    findings.known_keys(path, rows, names)
    return {
        name: read_vector(findings, join(path, name), row)
        for name, row in rows.items()
        if name in names
    }


def read_events(
    findings: Findings, value: object, plan: Plan, capacity: Mapping[str, Vector]
) -> tuple[ScenarioEvent, ...]:
    rows = findings.sequence("events", value, "a list of events")
    if rows is not None and len(rows) > _MOST_EVENTS:
        findings.add("events", "too many events", f"at most {_MOST_EVENTS}")
        return ()
    found = []
    for number, row in enumerate(rows or ()):
        event = _event(findings, f"events[{number}]", row, plan, capacity)
        if event is not None:
            found.append(event)
    # A stable sort: events of one time happen in the order in which they are written.
    events = tuple(sorted(found, key=lambda event: event.at))
    _check_references(findings, events, plan)
    return events


def _check_references(findings: Findings, events: tuple[ScenarioEvent, ...], plan: Plan) -> None:
    """Keep a problem for ids that nobody has asked with, ids asked twice, and unknown groups."""
    # In order of time, so that an id may be used again once its request has ended.
    asked: set[str] = set()
    for event in events:
        path, value = event.path, event.value
        name = value.id if isinstance(value, ScenarioRequest) else value
        if event.action == "request" and isinstance(value, ScenarioRequest):
            if name in asked:
                findings.add(join(path, "id"), f"{name!r} asks already", "a new id")
            if value.group and plan.group(value.group) is None:
                names = ", ".join(group.name for group in plan.groups)
                findings.add(join(path, "group"), f"{value.group!r} is no group", names)
            asked.add(name)
        elif event.action in ("modify", "cancel", "release") and isinstance(name, str):
            if name not in asked:
                findings.add(path, f"{name!r} has not asked before", "the id of a request")
            if event.action != "modify":
                asked.discard(name)


def _event(
    findings: Findings, path: str, value: object, plan: Plan, capacity: Mapping[str, Vector]
) -> ScenarioEvent | None:
    row = findings.mapping(path, value, "{at: 0s, request: {…}}")
    if row is None:
        return None
    actions = [action for action in _ACTIONS if action in row]
    findings.known_keys(path, row, ("at", *_ACTIONS))
    if len(actions) != 1:
        findings.add(path, f"names {len(actions)} actions", "one of " + ", ".join(_ACTIONS))
        return None
    try:
        at = parse_duration(row.get("at"))
    except DurationError as error:
        findings.found(join(path, "at"), row.get("at"), str(error))
        return None
    action = actions[0]
    place = join(path, action)
    return ScenarioEvent(
        at, action, _value(findings, place, action, row[action], plan, capacity), place
    )


def _value(
    findings: Findings,
    path: str,
    action: str,
    value: object,
    plan: Plan,
    capacity: Mapping[str, Vector],
) -> Any:
    match action:
        case "cancel" | "release":
            return _text(findings, path, value)
        case "capacity":
            return read_capacity(findings, path, value, plan)
        case "expect":
            return _expected(findings, path, value, plan, capacity)
        case "plan":
            return findings.mapping(path, value, "a plan")
        case _:
            return _request(findings, path, value, changes=action == "modify")


def _text(findings: Findings, path: str, value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= 200:
        return value
    findings.found(path, value, "the id of a request")
    return ""


def _request(
    findings: Findings, path: str, value: object, *, changes: bool
) -> ScenarioRequest | None:
    row = findings.mapping(path, value, "{id: a1, consumer: A, slots: 20}")
    if row is None:
        return None
    counts = {
        key: findings.integer(join(path, key), row.get(key, 1), 1, _MOST_PARTS)
        for key in ("count", "minimum", "maximum")
    }
    # Every key that is no field of a request is a resource: `slots: 20` reads as it is said.
    vector = read_vector(
        findings, path, {key: item for key, item in row.items() if key not in (*_REQUEST, "firm")}
    )
    if not vector:
        findings.add(path, "asks for nothing", "at least one resource with a quantity")
    for resource, amount in vector.items():
        # The amount is that of all parts together; dividing it must not lose a unit.
        if amount % counts["count"]:
            fault = f"cannot be divided into {counts['count']} equal parts"
            findings.add(join(path, resource), fault, "a multiple of count")
    texts = {
        key: _named(findings, join(path, key), row.get(key, "")) for key in ("group", "namespace")
    }
    return ScenarioRequest(
        id=_text(findings, join(path, "id"), row.get("id")),
        consumer="" if changes else _text(findings, join(path, "consumer"), row.get("consumer")),
        vector={key: amount // counts["count"] for key, amount in vector.items()},
        priority=findings.integer(join(path, "priority"), row.get("priority", 0), -1000, 10**9),
        firm=findings.boolean(join(path, "firm"), row.get("firm", False)),
        count=counts["count"],
        minimum=counts["minimum"],
        maximum=max(counts["minimum"], counts["maximum"]),
        **texts,
    )


def _named(findings: Findings, path: str, value: object) -> str:
    if isinstance(value, str) and len(value) <= 253:
        return value
    findings.found(path, value, "a name of at most 253 characters")
    return ""


def _expected(
    findings: Findings, path: str, value: object, plan: Plan, capacity: Mapping[str, Vector]
) -> dict[str, Vector]:
    """What each consumer should hold: an amount where there is one resource, else a mapping."""
    rows = findings.mapping(path, value, "what consumers hold, such as {A: 4, B1: 16}")
    known = {
        leaf.name
        for group in plan.groups
        for window in group.windows
        for leaf in leaves(window.consumers)
    }
    resources = sorted({name for vector in capacity.values() for name in vector})
    expected: dict[str, Vector] = {}
    for name, amount in (rows or {}).items():
        place = join(path, name)
        if name not in known:
            findings.add(place, "is no leaf consumer", ", ".join(sorted(known)))
        elif isinstance(amount, Mapping):
            expected[name] = read_vector(findings, place, amount)
        elif len(resources) == 1:
            expected[name] = read_vector(findings, path, {resources[0]: amount})
        else:
            findings.found(place, amount, "quantities by resource: " + ", ".join(resources))
    return expected
