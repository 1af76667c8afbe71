"""Text to a Requirement: the sections, each once, select first."""

from collections.abc import Callable
from dataclasses import replace

from nodeagent.allocator.requirement import rusage
from nodeagent.allocator.requirement.cursor import SECONDS, SUFFIXES, Cursor
from nodeagent.allocator.requirement.errors import RequirementError
from nodeagent.allocator.requirement.expressions import expression
from nodeagent.allocator.requirement.sections import Key, OrderKey, Phase, Requirement, Usage
from nodeagent.allocator.requirement.tokens import SECTIONS, Kind

MAX_SPAN = 1_000_000
_NEXT = "an operator, one of the sections " + ", ".join(SECTIONS) + ", or the end"
_THOUSANDTHS = {"m": 1} | {suffix: 1000 * factor for suffix, factor in SUFFIXES.items()}


def parse(text: str) -> Requirement:
    """Read a requirement; raise RequirementError with position and what was expected.

    The empty text is the requirement that everything meets.
    """
    cursor = Cursor(text)
    found = Requirement()
    # As in LSF, a requirement that begins without the name of a section begins with select.
    if cursor.token.kind is not Kind.END and not _at_section(cursor):
        found = Requirement(select=expression(cursor))
    seen = {"select"} if found.select is not None else set()
    while cursor.token.kind is not Kind.END:
        found = _section(cursor, found, seen)
    return found


def _at_section(cursor: Cursor) -> bool:
    # Only with a parenthesis: an attribute may be named as a section is.
    opens = cursor.after.kind is Kind.SIGN and cursor.after.text == "("
    return cursor.token.kind is Kind.NAME and cursor.token.text in SECTIONS and opens


def _section(cursor: Cursor, found: Requirement, seen: set[str]) -> Requirement:
    if not _at_section(cursor):
        cursor.refuse(_NEXT)
    token = cursor.take()
    if token.text in seen:
        raise RequirementError(f"a second {token.text}", token.position, "each section once")
    if token.text == "select" and seen:
        raise RequirementError("select comes late", token.position, "select before all others")
    # LSF asks for select first too: what the other sections order or count is what it selected.
    seen.add(token.text)
    cursor.expect("(")
    found = _READERS[token.text](cursor, found)
    cursor.expect(")", "')'")
    return found


def _select(cursor: Cursor, found: Requirement) -> Requirement:
    return replace(found, select=expression(cursor))


def _order(cursor: Cursor, found: Requirement) -> Requirement:
    keys = [_order_key(cursor)]
    while cursor.accept(":"):
        keys.append(_order_key(cursor))
    return replace(found, order=tuple(keys))


def _order_key(cursor: Cursor) -> OrderKey:
    descending = cursor.accept("-")
    name, position = cursor.key("the name of an attribute")
    return OrderKey(name, descending, position=position)


def _rusage(cursor: Cursor, found: Requirement) -> Requirement:
    phases = [_phase(cursor)]
    while cursor.accept(","):
        phases.append(_phase(cursor))
    rusage.check(tuple(phases))
    return replace(found, rusage=tuple(phases))


def _phase(cursor: Cursor) -> Phase:
    at = cursor.token.position
    usages = [_usage(cursor)]
    duration, decay = None, False
    while duration is None and cursor.accept(":"):
        if cursor.at_word("duration"):
            duration = _duration(cursor)
        elif cursor.at_word("decay"):
            cursor.refuse("duration before decay")
        else:
            usages.append(_usage(cursor))
    if duration is not None and cursor.accept(":"):
        decay = _decay(cursor)
    return Phase(tuple(usages), duration, decay, position=at)


def _usage(cursor: Cursor) -> Usage:
    name, position = cursor.key("the name of a resource")
    cursor.expect("=")
    amount = cursor.number(_THOUSANDTHS, "an amount, as in 2, 500m or 8Gi")
    return Usage(name, amount, position=position)


def _duration(cursor: Cursor) -> int:
    cursor.take()
    cursor.expect("=")
    at = cursor.token.position
    seconds = cursor.number(SECONDS, "a time, as in 90, 90s, 5m, 2h or 1d")
    if seconds == 0:
        raise RequirementError("a phase of no duration", at, "at least 1 second")
    return seconds


def _decay(cursor: Cursor) -> bool:
    if not cursor.at_word("decay"):
        cursor.refuse("decay=0 or decay=1 as the last part of the phase")
    cursor.take()
    cursor.expect("=")
    at = cursor.token.position
    value = cursor.number({"": 1}, "0 or 1")
    if value > 1:
        raise RequirementError(f"decay={value}", at, "0 or 1")
    return value == 1


def _span(cursor: Cursor, found: Requirement) -> Requirement:
    at = cursor.token.position
    places = cursor.number({"": 1}, "a number of places")
    if not 1 <= places <= MAX_SPAN:
        raise RequirementError(f"span({places})", at, f"1 to {MAX_SPAN} places")
    return replace(found, span=places)


def _affinity(cursor: Cursor, found: Requirement) -> Requirement:
    return replace(found, affinity=_key(cursor))


def _antiaffinity(cursor: Cursor, found: Requirement) -> Requirement:
    return replace(found, antiaffinity=_key(cursor))


def _same(cursor: Cursor, found: Requirement) -> Requirement:
    return replace(found, same=_key(cursor))


def _key(cursor: Cursor) -> Key:
    name, position = cursor.key("the name of an attribute")
    return Key(name, position=position)


_READERS: dict[str, Callable[[Cursor, Requirement], Requirement]] = {
    "select": _select,
    "order": _order,
    "rusage": _rusage,
    "affinity": _affinity,
    "antiaffinity": _antiaffinity,
    "span": _span,
    "same": _same,
}
