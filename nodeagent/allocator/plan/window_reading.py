"""Reading when a window is in force, and the check that windows cover the week exactly once."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nodeagent.allocator.plan.plan import WEEK, Span
from nodeagent.allocator.plan.problem import Findings, join

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = 24 * 60
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
ACCEPTED = 'always, or {days: [mon-fri], from: "08:00", to: "20:00"}, or a list of such'
_DAYS_ACCEPTED = "days such as mon, or ranges such as mon-fri"
_TIME_ACCEPTED = 'a time in quotes from "00:00" to "24:00"'


def read_when(findings: Findings, path: str, value: object) -> tuple[Span, ...]:
    """The minutes of the week that a `when` names, in order, without overlap within itself."""
    if value == "always":
        return (Span(0, WEEK),)
    # One entry may stand without a list, which is how most plans are written.
    entries = value if isinstance(value, list | tuple) and value else [value]
    spans: list[Span] = []
    for number, entry in enumerate(entries):
        place = f"{path}[{number}]" if entries is value else path
        spans += _read_entry(findings, place, entry)
    return tuple(sorted(spans, key=lambda span: (span.start, span.end)))


def _read_entry(findings: Findings, path: str, value: object) -> list[Span]:
    entry = findings.mapping(path, value, ACCEPTED)
    if entry is None:
        return []
    findings.known_keys(path, entry, ("days", "from", "to"))
    days = _read_days(findings, join(path, "days"), entry)
    start = _read_time(findings, join(path, "from"), entry.get("from", "00:00"))
    end = _read_time(findings, join(path, "to"), entry.get("to", "24:00"))
    if start is None or end is None:
        return []
    # `from` = `to` could mean nothing or a whole day; "00:00" to "24:00" says the latter.
    if start in (end, _DAY):
        findings.add(path, "covers no time", "a `from` that differs from `to`")
        return []
    return [span for day in days for span in _spans_of(day, start, end)]


def _spans_of(day: int, start: int, end: int) -> list[Span]:
    """One day's span; a `to` before `from` reaches into the next day, Sunday's into Monday."""
    begin = day * _DAY + start
    finish = day * _DAY + end + (_DAY if end < start else 0)
    if finish <= WEEK:
        return [Span(begin, finish)]
    return [Span(begin, WEEK), Span(0, finish - WEEK)]


def _read_days(findings: Findings, path: str, entry: Mapping[str, Any]) -> list[int]:
    if "days" not in entry:
        return list(range(7))
    rows = findings.sequence(path, entry["days"], f"a list of {_DAYS_ACCEPTED}")
    if rows is not None and not rows:
        findings.add(path, "the list is empty", f"at least one of {_DAYS_ACCEPTED}")
    days: list[int] = []
    for number, row in enumerate(rows or ()):
        for day in _day_range(findings, f"{path}[{number}]", row):
            if day in days:
                findings.add(f"{path}[{number}]", f"names {DAYS[day]} again", "each day once")
            else:
                days.append(day)
    return days


def _day_range(findings: Findings, path: str, value: object) -> list[int]:
    names = value.lower().split("-") if isinstance(value, str) else []
    if not 1 <= len(names) <= 2 or any(name not in DAYS for name in names):
        findings.found(path, value, _DAYS_ACCEPTED)
        return []
    # `fri-mon` goes over the weekend, so days are counted modulo 7.
    first, last = DAYS.index(names[0]), DAYS.index(names[-1])
    return [(first + step) % 7 for step in range((last - first) % 7 + 1)]


def _read_time(findings: Findings, path: str, value: object) -> int | None:
    """Minutes of the day, None if it is no time.

    YAML 1.1 reads a bare 20:00 as the sexagesimal number 1200, so quotes are asked for.
    """
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        findings.found(path, value, _TIME_ACCEPTED)
        return None
    hours, minutes = value.split(":")
    return int(hours) * 60 + int(minutes)


def check_cover(findings: Findings, path: str, windows: Sequence[tuple[Span, ...]]) -> None:
    """Keep a problem for every gap and overlap of the windows of one group."""
    spans = sorted(
        (span.start, span.end, number) for number, spans in enumerate(windows) for span in spans
    )
    # In one pass over spans sorted by start; `reached` is the end of what is covered so far, `last`
    # the window that reaches it.
    reached, last = 0, 0
    for start, end, number in spans:
        if start > reached:
            _gap(findings, path, reached, start)
        if start < reached:
            fault = f"overlaps window {last} from {clock(start)} to {clock(min(end, reached))}"
            findings.add(
                f"{path}[{number}].when", fault, "windows that cover the week exactly once"
            )
        if end > reached:
            reached, last = end, number
    if reached < WEEK:
        _gap(findings, path, reached, WEEK)


def _gap(findings: Findings, path: str, start: int, end: int) -> None:
    fault = f"no window from {clock(start)} to {clock(end)}"
    findings.add(path, fault, "windows that cover the week exactly once")


def clock(minute: int) -> str:
    """A minute of the week as text: `mon 08:00`; the week ends with `sun 24:00`."""
    day, rest = divmod(minute, _DAY)
    if day == 7:
        return "sun 24:00"
    return f"{DAYS[day]} {rest // 60:02}:{rest % 60:02}"
