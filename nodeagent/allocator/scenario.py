"""A scenario document: a plan, a capacity, and what happens when. Read whole or refused whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from nodeagent.allocator.consumer import leaves
from nodeagent.allocator.consumer_reading import read_vector
from nodeagent.allocator.duration import DurationError, parse_duration
from nodeagent.allocator.plan import Plan
from nodeagent.allocator.plan_reading import Zones, check_capacity, parse_plan, parse_spec
from nodeagent.allocator.problem import DocumentRefused, Findings, join
from nodeagent.allocator.quantity import Vector

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONDAY = 4 * 86_400_000
"""Where a scenario starts unless it says otherwise: Monday 5 January 1970, in milliseconds."""
_MOST_EVENTS = 100_000
_MOST_PARTS = 100_000
_REQUEST = ("id", "consumer", "count", "group", "minimum", "maximum", "priority", "namespace")
_ACTIONS = ("request", "modify", "cancel", "release", "capacity", "plan", "expect")


@dataclass(frozen=True, slots=True)
class Wish:
    """A request of a scenario: `count` allocations of `vector` each, or a change of one."""

    id: str
    consumer: str
    vector: Vector
    count: int = 1
    group: str = ""
    minimum: int = 1
    maximum: int = 1
    priority: int = 0
    namespace: str = ""
    firm: bool = False


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of a scenario, `at` milliseconds after the start; `value` by `action`."""

    at: int
    action: str
    value: Any
    path: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """A valid scenario; the happenings are in order of time."""

    plan: Plan
    capacity: Mapping[str, Vector]
    start: int
    happenings: tuple[Happening, ...] = field(default_factory=tuple)


Load = Callable[[str], object]
"""Reads the document of a file that a scenario names; this room opens none itself."""


def _no_files(name: str) -> object:
    raise DocumentRefused(())


def read_scenario(document: object, zones: Zones, load: Load = _no_files) -> Scenario:
    """The scenario of a document. Raises DocumentRefused with every problem and its path."""
    findings = Findings()
    top = findings.mapping("scenario", document, "{plan: …, capacity: …, events: […]}")
    findings.refuse_if_any()
    assert top is not None
    findings.known_keys("", top, ("plan", "capacity", "start", "events"))
    findings.refuse_if_any()
    plan = read_scenario_plan(top.get("plan"), zones, load)
    capacity = _capacity(findings, "capacity", top.get("capacity"), plan)
    start = _start(findings, top.get("start"), plan)
    happenings = _happenings(findings, top.get("events"), plan, capacity)
    findings.refuse_if_any()
    check_capacity(plan, capacity)
    return Scenario(plan, capacity, start, happenings)


def read_scenario_plan(value: object, zones: Zones, load: Load) -> Plan:
    """The plan of a scenario: a spec, a whole document, or `file:` and its name."""
    if isinstance(value, Mapping) and set(value) == {"file"}:
        try:
            return parse_plan(load(str(value["file"])), zones)
        except OSError as error:
            findings = Findings()
            reason = error.strerror or "cannot be read"
            findings.add("plan.file", f"{value['file']!r}: {reason}", "a readable plan file")
            raise DocumentRefused(findings.problems) from error
    if isinstance(value, Mapping) and "kind" in value:
        return parse_plan(value, zones)
    return parse_spec(value, zones, path="plan")


def _capacity(findings: Findings, path: str, value: object, plan: Plan) -> dict[str, Vector]:
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


def _start(findings: Findings, value: object, plan: Plan) -> int:
    if value is None:
        return MONDAY
    accepted = 'a date and time such as "2026-03-02T08:00:00"'
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if isinstance(value, datetime):
        moment = value
    if moment is None:
        findings.found("start", value, accepted)
        return MONDAY
    placed = moment if moment.tzinfo is not None else moment.replace(tzinfo=plan.zone)
    return (placed - _EPOCH) // timedelta(milliseconds=1)


def _happenings(
    findings: Findings, value: object, plan: Plan, capacity: Mapping[str, Vector]
) -> tuple[Happening, ...]:
    rows = findings.sequence("events", value, "a list of events")
    if rows is not None and len(rows) > _MOST_EVENTS:
        findings.add("events", "too many events", f"at most {_MOST_EVENTS}")
        return ()
    found = []
    for number, row in enumerate(rows or ()):
        happening = _happening(findings, f"events[{number}]", row, plan, capacity)
        if happening is not None:
            found.append(happening)
    return tuple(sorted(found, key=lambda happening: happening.at))


def _happening(
    findings: Findings, path: str, value: object, plan: Plan, capacity: Mapping[str, Vector]
) -> Happening | None:
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
    return Happening(
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
            return _capacity(findings, path, value, plan)
        case "expect":
            return _expected(findings, path, value, plan, capacity)
        case "plan":
            return findings.mapping(path, value, "a plan")
        case _:
            return _wish(findings, path, value, changes=action == "modify")


def _text(findings: Findings, path: str, value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= 200:
        return value
    findings.found(path, value, "the id of a request")
    return ""


def _wish(findings: Findings, path: str, value: object, *, changes: bool) -> Wish | None:
    row = findings.mapping(path, value, "{id: a1, consumer: A, slots: 20}")
    if row is None:
        return None
    counts = {
        key: findings.integer(join(path, key), row.get(key, 1), 1, _MOST_PARTS)
        for key in ("count", "minimum", "maximum")
    }
    vector = read_vector(
        findings, path, {key: item for key, item in row.items() if key not in (*_REQUEST, "firm")}
    )
    if not vector:
        findings.add(path, "asks for nothing", "at least one resource with a quantity")
    for resource, amount in vector.items():
        if amount % counts["count"]:
            fault = f"cannot be divided into {counts['count']} equal parts"
            findings.add(join(path, resource), fault, "a multiple of count")
    texts = {
        key: _named(findings, join(path, key), row.get(key, "")) for key in ("group", "namespace")
    }
    return Wish(
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
    if isinstance(value, str):
        return value
    findings.found(path, value, "a name")
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
