"""One measured figure with its target."""

import statistics
from collections.abc import Sequence
from typing import TypedDict


class Result(TypedDict, total=False):
    """`ratio` or `value` with `unit`; `target` and `spread` in words for people.

    `met` is absent where there is no target.
    """

    name: str
    ratio: float
    value: float
    unit: str
    target: str
    spread: str
    met: bool


def ratio(
    name: str, ours: Sequence[float], theirs: Sequence[float], at_most: float | None = None,
    at_least: float | None = None,
) -> Result:  # fmt: skip
    """The median of the ratios pair by pair; the spread is their middle half."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return _judged(
        {"name": name, "ratio": statistics.median(ratios), "unit": "×", "spread": _middle(ratios)},
        at_most,
        at_least,
    )


def value(
    name: str, samples: Sequence[float], unit: str, at_most: float | None = None,
    at_least: float | None = None,
) -> Result:  # fmt: skip
    """The median; the spread is the middle half."""
    ordered = sorted(samples)
    found: Result = {
        "name": name,
        "value": statistics.median(ordered),
        "unit": unit,
        "spread": _middle(ordered),
    }
    return _judged(found, at_most, at_least)


def _middle(ordered: Sequence[float]) -> str:
    if len(ordered) < 4:
        return f"{ordered[0]:.3g}–{ordered[-1]:.3g}"
    return f"{ordered[len(ordered) // 4]:.3g}–{ordered[-len(ordered) // 4]:.3g}"


def _judged(result: Result, at_most: float | None, at_least: float | None) -> Result:
    figure = result.get("ratio", result.get("value", 0.0))
    if at_most is not None:
        result["target"], result["met"] = f"≤ {at_most:g}", figure <= at_most
    if at_least is not None:
        result["target"], result["met"] = f"≥ {at_least:g}", figure >= at_least
    return result
