"""Points in time for people."""

from datetime import UTC, datetime


def render_time(unix_seconds: int) -> str:
    """A time in UTC as RFC 3339 has it: `2027-01-15T08:00:00Z`."""
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
