"""Tables and times as people read them."""

from berth.base.tables import aligned
from berth.base.timestamps import render_time


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert aligned([("POD", "STATE", ""), ("default/web", "ready", "x"), ("b", "", "")]) == (
        "POD          STATE\ndefault/web  ready  x\nb"
    )


def test_times_are_utc() -> None:
    assert render_time(1_800_000_000) == "2027-01-15T08:00:00Z"
