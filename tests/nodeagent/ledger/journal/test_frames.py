"""Frames and canonical records: round trips, and damage at any place is seen."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.ledger.journal.frames import (
    Json,
    encode_frame,
    encode_record,
    frame_at,
    good_frame_after,
)

values: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
records = st.lists(values, min_size=1, max_size=5)
numbers = st.integers(0, 2**63)


@given(values)
def test_records_round_trip_in_one_line(value: Json) -> None:
    data = encode_record(value)
    assert b"\n" not in data
    assert json.loads(data) == value
    assert encode_record(json.loads(data)) == data


@given(numbers, records, st.binary(max_size=20), st.binary(max_size=20))
def test_frames_round_trip(first: int, drawn: list[Json], before: bytes, after: bytes) -> None:
    encoded = [encode_record(value) for value in drawn]
    frame = encode_frame(first, encoded)
    found = frame_at(before + frame + after, len(before))
    assert found is not None
    assert (found.first, list(found.records)) == (first, encoded)
    assert found.end == len(before) + len(frame)


@given(numbers, records, st.data())
def test_any_changed_bit_and_any_cut_is_seen(
    first: int, drawn: list[Json], at: st.DataObject
) -> None:
    frame = encode_frame(first, [encode_record(value) for value in drawn])
    bit = at.draw(st.integers(0, 8 * len(frame) - 1))
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    assert frame_at(bytes(damaged), 0) is None
    assert frame_at(frame[: at.draw(st.integers(0, len(frame) - 1))], 0) is None


def test_a_good_frame_after_damage_is_found() -> None:
    first, second = encode_frame(1, [b"1"] * 3), encode_frame(4, [b"2"])
    damaged = b"\xff" + first[1:]
    assert good_frame_after(damaged + second, 0, 1) == len(first)
    assert good_frame_after(damaged + second[:-1], 0, 1) is None
    assert good_frame_after(damaged + bytes(50), 0, 1) is None


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, {1: 2}, b"x", {"a": {1}}])
def test_what_would_not_come_back_the_same_is_refused(value: Json) -> None:
    with pytest.raises(TypeError, match="journal records"):
        encode_record(value)
