"""Which window is in force at an instant, and when the next begins; clock changes included.

Windows are written in wall-clock minutes of a time zone, instants are epoch seconds. The wall clock
skips an hour in spring and repeats one in autumn, so a boundary cannot be computed by adding
minutes: instants at which the window *may* change are collected and looked at.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from nodeagent.allocator.plan.plan import WEEK, Window

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = 3600
_AHEAD = 9 * 24
"""Hours searched for the next boundary: a week, and what a clock change may add to it."""


def minute_of_week(instant: int, zone: tzinfo) -> int:
    """Minutes since Monday 00:00 on the wall clock of a zone, at an instant in epoch seconds."""
    wall = (_EPOCH + timedelta(seconds=instant)).astimezone(zone)
    return (wall.weekday() * 24 + wall.hour) * 60 + wall.minute


def window_at(windows: Sequence[Window], instant: int, zone: tzinfo) -> int:
    """The index of the window in force at an instant in epoch seconds."""
    if len(windows) == 1:
        return 0
    minute = minute_of_week(instant, zone)
    return _window_of(windows, minute)


def _window_of(windows: Sequence[Window], minute: int) -> int:
    for index, window in enumerate(windows):
        if any(span.start <= minute < span.end for span in window.spans):
            return index
    raise AssertionError("the windows of a valid plan cover the week")


def next_boundary(windows: Sequence[Window], instant: int, zone: tzinfo) -> int | None:
    """The first instant after `instant` (epoch seconds) at which another window is in force.

    None if there is only one window. A clock change may begin or end a window too.
    """
    if len(windows) == 1:
        return None
    # Looked at one by one: in the repeated hour of autumn an edge on the wall clock comes twice,
    # and the window changes back in between.
    now = window_at(windows, instant, zone)
    for candidate in sorted(_candidates(windows, instant, zone)):
        if window_at(windows, candidate, zone) != now:
            return candidate
    return None


def _candidates(windows: Sequence[Window], instant: int, zone: tzinfo) -> set[int]:
    """Instants at which a window may change: edges on the wall clock, and clock changes."""
    # Starts suffice: the windows cover the week, so where one ends another starts.
    edges = {span.start for window in windows for span in window.spans}
    found: set[int] = set()
    start = instant - instant % _HOUR
    offset = _offset(start, zone)
    for hour in range(_AHEAD):
        here = start + hour * _HOUR
        later = _offset(here + _HOUR, zone)
        if later != offset:
            found.add(_change(here, here + _HOUR, zone))
        # In the hour of a clock change both offsets are in force, one after the other.
        for shift in {offset, later}:
            found |= _edges_within(here, shift, edges)
        offset = later
    return {candidate for candidate in found if candidate > instant}


def _edges_within(hour: int, offset: int, edges: set[int]) -> set[int]:
    """The instants of edges that fall in one hour if the zone is `offset` seconds ahead of UTC.

    Some zones had offsets that are no whole minutes, so a minute may begin at an odd second.
    """
    first = _wall_minute(hour, offset)
    begin = hour - (hour + offset) % 60
    return {begin + step * 60 for step in range(61) if (first + step) % WEEK in edges}


def _wall_minute(instant: int, offset: int) -> int:
    # 1 January 1970 was a Thursday: three days after Monday.
    return ((instant + offset) // 60 + 3 * 24 * 60) % WEEK


def _offset(instant: int, zone: tzinfo) -> int:
    shift = (_EPOCH + timedelta(seconds=instant)).astimezone(zone).utcoffset()
    return 0 if shift is None else shift.days * 86_400 + shift.seconds


def _change(low: int, high: int, zone: tzinfo) -> int:
    """The first instant in (low, high] with another offset than at `low`; there must be one."""
    before = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high
