"""A scenario document: a plan, a capacity, and what happens when. Read whole or refused whole."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from berth.base.quantity import Vector
from nodeagent.allocator.plan.plan import Plan
from nodeagent.allocator.plan.plan_reading import Zones, check_capacity, parse_plan, parse_spec
from nodeagent.allocator.plan.problem import DocumentRefused, Findings
from nodeagent.simulate.scenario_events import ScenarioEvent, read_capacity, read_events

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONDAY = 4 * 86_400_000
"""Where a scenario starts unless it says otherwise: Monday 5 January 1970, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A valid scenario; the events are in order of time."""

    plan: Plan
    capacity: Mapping[str, Vector]
    start: int
    events: tuple[ScenarioEvent, ...] = field(default_factory=tuple)


Load = Callable[[str], object]
"""Reads the document of a file that a scenario names; this package opens none itself."""


def _no_files(name: str) -> object:
    raise OSError(f"{name}: no files are read here")


def read_scenario(document: object, zones: Zones, load: Load = _no_files) -> Scenario:
    """The scenario of a document. Raises DocumentRefused with every problem and its path."""
    findings = Findings()
    top = findings.mapping("scenario", document, "{plan: …, capacity: …, events: […]}")
    findings.refuse_if_any()
    assert top is not None
    findings.known_keys("", top, ("plan", "capacity", "start", "events"))
    findings.refuse_if_any()
    plan = read_scenario_plan(top.get("plan"), zones, load)
    capacity = read_capacity(findings, "capacity", top.get("capacity"), plan)
    start = _start(findings, top.get("start"), plan)
    events = read_events(findings, top.get("events"), plan, capacity)
    # Last: it raises by itself, and would hide problems of the events.
    findings.refuse_if_any()
    check_capacity(plan, capacity)
    return Scenario(plan, capacity, start, events)


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


def _start(findings: Findings, value: object, plan: Plan) -> int:
    if value is None:
        return MONDAY
    accepted = 'a date and time such as "2026-03-02T08:00:00"'
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    # YAML reads an unquoted date and time as one.
    if isinstance(value, datetime):
        moment = value
    if moment is None:
        findings.found("start", value, accepted)
        return MONDAY
    placed = moment if moment.tzinfo is not None else moment.replace(tzinfo=plan.zone)
    return (placed - _EPOCH) // timedelta(milliseconds=1)
