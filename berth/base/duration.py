"""Durations such as `30s`, `5m` or `1h30m` as integer milliseconds.

Go's form (time.ParseDuration), which Kubernetes documents use, with days and without fractions.
"""

import re

# `ms` before `m`: the first alternative that fits is taken.
_PART = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
ACCEPTED = 'a duration such as "30s", "500ms", "5m" or "1h30m"'
LONGEST = 366 * 86_400_000
"""The longest duration a document may name, in milliseconds: one year."""


class DurationError(ValueError):
    """A value that is no duration; the text says what would be accepted."""


def parse_duration(value: object) -> int:
    """Milliseconds of a duration text; the bare number 0 is accepted too. Raises DurationError."""
    # Any other bare number is refused: seconds for one reader are minutes for the next.
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        return 0
    if not isinstance(value, str) or not value or len(value) > 60:
        raise DurationError(ACCEPTED)
    if value == "0":
        return 0
    total, position = 0, 0
    while position < len(value):
        match = _PART.match(value, position)
        if match is None:
            raise DurationError(ACCEPTED)
        total += int(match[1]) * _UNITS[match[2]]
        position = match.end()
    if total > LONGEST:
        raise DurationError(f"{ACCEPTED}, at most one year")
    return total


def render_duration(milliseconds: int) -> str:
    """A duration in seconds where it is whole, else in milliseconds: `30s`, `1500ms`."""
    whole, rest = divmod(milliseconds, 1000)
    return f"{milliseconds}ms" if rest else f"{whole}s"
