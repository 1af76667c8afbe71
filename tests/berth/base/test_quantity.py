"""Quantities and durations are exact, and print what reads back the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.base.duration import DurationError, parse_duration, render_duration
from berth.base.quantity import (
    QuantityError,
    covers,
    minus,
    parse_quantity,
    plus,
    render_quantity,
    render_vector,
    times,
)


@pytest.mark.parametrize(
    ("resource", "text", "amount"),
    [
        ("cpu", "4", 4000),
        ("cpu", "0.5", 500),
        ("cpu", 0.1, 100),
        ("cpu", "1500m", 1500),
        ("cpu", "2e3", 2_000_000),
        ("cpu", "1k", 1_000_000),
        ("berth.dev/borrow-cpu", "1", 1000),
        ("memory", "8Gi", 8 << 30),
        ("memory", "1.5Ki", 1536),
        ("memory", "128974848000m", 128974848),
        ("memory", "1e3", 1000),
        ("memory", "12E", None),
        ("hugepages-2Mi", "4Mi", 4 << 20),
        ("ephemeral-storage", "1G", 10**9),
        ("nvidia.com/gpu", 2, 2),
        ("nvidia.com/gpu", "500m", None),
        ("pids", "1k", 1000),
        ("cpu", "1e-3", 1),
        ("cpu", ".5", 500),
        ("cpu", "5.", 5000),
        ("cpu", "", None),
        ("cpu", ".", None),
        ("cpu", "1 core", None),
        ("cpu", "1e999", None),
        ("cpu", [], None),
    ],
)
def test_quantities(resource: str, text: object, amount: int | None) -> None:
    if amount is None:
        with pytest.raises(QuantityError):
            parse_quantity(resource, text)
    else:
        assert parse_quantity(resource, text) == amount


def test_a_pods_fractions_round_up_as_kubernetes_does() -> None:
    assert parse_quantity("cpu", "0.0001", round_up=True) == 1
    assert parse_quantity("memory", "100m", round_up=True) == 1


@given(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "hugepages-1Gi"]),
    st.integers(0, (1 << 63) - 1),
)
def test_what_is_rendered_reads_back_the_same(resource: str, amount: int) -> None:
    assert parse_quantity(resource, render_quantity(resource, amount)) == amount


@given(st.text(max_size=30))
def test_any_text_is_an_amount_or_an_error(text: str) -> None:
    try:
        assert parse_quantity("memory", text) >= 0
    except QuantityError as error:
        assert error.accepted


def test_amounts_for_people() -> None:
    assert render_vector({"memory": 1 << 10, "cpu": 2000, "x": 0, "hugepages-2Mi": 3}) == (
        "cpu 2, hugepages-2Mi 3, memory 1Ki, x 0"
    )


def test_vectors() -> None:
    assert plus({"a": 1}, {"a": 2, "b": 0}) == {"a": 3}
    assert minus({"a": 3, "b": 1}, {"a": 1, "b": 5}) == {"a": 2}
    assert times({"a": 2, "b": 0}, 3) == {"a": 6}
    assert covers({"a": 2}, {"a": 2}) and not covers({}, {"a": 1})


@pytest.mark.parametrize(
    ("text", "amount"),
    [("30s", 30_000), ("1h30m", 5_400_000), ("500ms", 500), (0, 0), ("0", 0), ("0s", 0)],
)
def test_durations(text: object, amount: int) -> None:
    assert parse_duration(text) == amount
    assert parse_duration(render_duration(amount)) == amount


@pytest.mark.parametrize(
    "text", ["", "s", "1", 1, 1.5, None, True, "1y", "-1s", "1s " * 40, "9e9d"]
)
def test_bad_durations(text: object) -> None:
    with pytest.raises(DurationError):
        parse_duration(text)
