"""Reading a plan document: valid as a whole, or refused whole with every problem and its path."""

from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Any

from berth.base.quantity import Vector, render_quantity
from nodeagent.allocator.plan.consumer import Circle, Cut, Mode, Order, Rebalance
from nodeagent.allocator.plan.consumer_checks import check_tree, total_own
from nodeagent.allocator.plan.consumer_reading import Inherited, TreeReader, read_choice
from nodeagent.allocator.plan.plan import Group, Plan, Window
from nodeagent.allocator.plan.problem import DocumentRefused, Findings, join
from nodeagent.allocator.plan.window_reading import check_cover, read_when

API_VERSION = "berth.dev/v1alpha1"
KIND = "ConsumerPlan"
_GROUP_FIELDS = (
    *("name", "mode", "rebalance", "order", "cut", "policy", "overAllocate", "windows"),
)
_MOST_GROUPS = 64
_MOST_WINDOWS = 7 * 24 * 60

Zones = Callable[[str], tzinfo]
"""Finds a time zone by its name, such as `zoneinfo.ZoneInfo`; raises for unknown names.

It is passed in because zone data lies in files.
"""


def parse_plan(document: object, zones: Zones) -> Plan:
    """The plan of a whole ConsumerPlan document. Raises DocumentRefused."""
    findings = Findings()
    top = findings.mapping("plan", document, "a ConsumerPlan document")
    findings.refuse_if_any()
    assert top is not None
    findings.known_keys("", top, ("apiVersion", "kind", "metadata", "spec"))
    for key, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if top.get(key) != expected:
            findings.found(key, top.get(key), expected)
    name = _metadata_name(findings, top.get("metadata", {}))
    plan = _spec(findings, "spec", top.get("spec"), name, zones)
    findings.refuse_if_any()
    assert plan is not None
    return plan


def parse_spec(spec: object, zones: Zones, *, path: str = "spec") -> Plan:
    """The plan of a bare `spec`, as a scenario file holds it. Raises DocumentRefused."""
    findings = Findings()
    plan = _spec(findings, path, spec, "default", zones)
    findings.refuse_if_any()
    assert plan is not None
    return plan


def _metadata_name(findings: Findings, value: object) -> str:
    metadata = findings.mapping("metadata", value, "{name: …}")
    name = (metadata or {}).get("name", "default")
    if not isinstance(name, str) or not 0 < len(name) <= 253:
        findings.found("metadata.name", name, "a name of at most 253 characters")
        return "default"
    return name


def _spec(findings: Findings, path: str, value: object, name: str, zones: Zones) -> Plan | None:
    spec = findings.mapping(path, value, "{timeZone: …, groups: […]}")
    if spec is None:
        return None
    findings.known_keys(path, spec, ("timeZone", "groups"))
    zone_name = spec.get("timeZone", "UTC")
    zone = _zone(findings, join(path, "timeZone"), zone_name, zones)
    groups = _groups(findings, join(path, "groups"), spec.get("groups"))
    if zone is None or findings.problems:
        return None
    document = {"metadata": {"name": name}, "spec": spec}
    return Plan(name, zone_name, zone, groups, _plain({**_HEADER, **document}))


_HEADER = {"apiVersion": API_VERSION, "kind": KIND}


def _plain(value: Any) -> Any:
    """A deep copy made of dicts, lists and scalars only.

    It goes into the journal, and the caller may change what it passed in.
    """
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _zone(findings: Findings, path: str, name: object, zones: Zones) -> tzinfo | None:
    accepted = "a time zone such as UTC or Europe/Berlin"
    if not isinstance(name, str) or not name or len(name) > 100:
        findings.found(path, name, accepted)
        return None
    try:
        return zones(name)
    except (KeyError, ValueError, OSError):
        # zoneinfo raises KeyError for unknown names, ValueError for ones that leave its directory
        # and OSError for ones that name a directory.
        findings.found(path, name, accepted)
        return None


def _groups(findings: Findings, path: str, value: object) -> tuple[Group, ...]:
    rows = findings.sequence(path, value, "a list of resource groups")
    if rows is not None and not 0 < len(rows) <= _MOST_GROUPS:
        findings.add(path, f"has {len(rows)} groups", f"1 to {_MOST_GROUPS}")
        # Read on with some, so that their problems are reported too.
        rows = rows[:_MOST_GROUPS]
    groups: list[Group] = []
    for number, row in enumerate(rows or ()):
        group = _group(findings, f"{path}[{number}]", row)
        if group is None:
            continue
        if any(group.name == other.name for other in groups):
            findings.add(f"{path}[{number}].name", f"{group.name!r} stands twice", "unique names")
        groups.append(group)
    return tuple(groups)


def _group(findings: Findings, path: str, value: object) -> Group | None:
    row = findings.mapping(path, value, "a group with name and windows")
    if row is None:
        return None
    # An unknown field is refused, not ignored: a misspelled `reserve` would be lent away.
    findings.known_keys(path, row, _GROUP_FIELDS)
    name, policy = (row.get(key, default) for key, default in (("name", None), ("policy", "")))
    for key, text in (("name", name), ("policy", policy)):
        if not isinstance(text, str) or len(text) > 63 or (key == "name" and not text):
            findings.found(join(path, key), text, "a name of at most 63 characters")
    mode = _choice(findings, path, row, "mode", Mode.HYBRID)
    over = findings.boolean(join(path, "overAllocate"), row.get("overAllocate", False))
    return Group(
        name=name if isinstance(name, str) else "",
        windows=_windows(findings, join(path, "windows"), row.get("windows"), mode),
        mode=mode,
        rebalance=_choice(findings, path, row, "rebalance", Rebalance.STICKY),
        order=_choice(findings, path, row, "order", Order.BORROW_FIRST),
        cut=_choice(findings, path, row, "cut", Cut.WATERFILL),
        # The mode names the built-in policy that goes with it (semantics 2.5).
        policy=policy if isinstance(policy, str) and policy else mode.value,
        over_allocate=over,
    )


def _windows(findings: Findings, path: str, value: object, mode: Mode) -> tuple[Window, ...]:
    rows = findings.sequence(path, value, "a list of windows")
    if rows is None:
        return ()
    if len(rows) > _MOST_WINDOWS:
        findings.add(path, "too many windows", f"at most {_MOST_WINDOWS}")
        return ()
    windows = []
    for number, row in enumerate(rows):
        windows.append(_window(findings, f"{path}[{number}]", row, mode))
    # Gaps would be reported for every window that could not be read.
    if not any(problem.path.startswith(path) for problem in findings.problems):
        check_cover(findings, path, [window.spans for window in windows])
    return tuple(windows)


def _window(findings: Findings, path: str, value: object, mode: Mode) -> Window:
    row = findings.mapping(path, value, "{when: …, consumers: […]}")
    if row is None:
        return Window((), ())
    findings.known_keys(path, row, ("when", "consumers"))
    spans = read_when(findings, join(path, "when"), row.get("when"))
    reader = TreeReader(findings)
    # In ownership mode lending is to be written down; the other modes share by default.
    circle = Circle.NONE if mode is Mode.OWNERSHIP else Circle.ANY
    above = Inherited(lend_to=circle, borrow_from=circle)
    consumers = reader.consumers(join(path, "consumers"), row.get("consumers"), above)
    check_tree(findings, consumers, reader.paths, mode)
    return Window(spans, consumers)


def _choice(findings: Findings, path: str, row: Mapping[str, Any], key: str, default: Any) -> Any:
    if key not in row:
        return default
    return read_choice(findings, join(path, key), row[key], type(default)) or default


def check_capacity(plan: Plan, capacity: Mapping[str, Vector]) -> None:
    """Refuse a plan whose top consumers own more than their group has, per group and resource.

    Groups with `overAllocate: true` are left out. Raises DocumentRefused.
    """
    findings = Findings()
    for number, group in enumerate(plan.groups):
        have = capacity.get(group.name, {})
        for index, window in enumerate(group.windows):
            path = f"spec.groups[{number}].windows[{index}].consumers"
            if group.over_allocate or group.mode is Mode.SHARE:
                continue
            for resource, total in sorted(total_own(window.consumers).items()):
                if total > have.get(resource, 0):
                    most = render_quantity(resource, have.get(resource, 0))
                    fault = f"own {render_quantity(resource, total)} of {resource} together"
                    findings.add(path, fault, f"at most {most}, or overAllocate: true")
    findings.refuse_if_any()


__all__ = ["DocumentRefused", "Zones", "check_capacity", "parse_plan", "parse_spec"]
