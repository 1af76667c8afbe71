"""Choosing units for one request: select, order, affinity, antiaffinity, same and span together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

from nodeagent.allocator.requirement.attributes import Attributes, Value, known
from nodeagent.allocator.requirement.evaluate import ordered, selects
from nodeagent.allocator.requirement.sections import Key, Requirement

MAX_TRIES = 64
"""Sets of places tried for one span section; beyond it the request counts as not placeable.

The number of sets grows as a binomial: 8 places in 16 are 12,870 sets.
"""


@dataclass(frozen=True, slots=True)
class Unit:
    """A device or slice to choose from; `place` is what span counts, such as its NUMA node."""

    name: str
    place: str
    attributes: Attributes


def choose(
    requirement: Requirement, units: Sequence[Unit], count: int, held: Sequence[Unit] = ()
) -> tuple[Unit, ...] | None:
    """The first `count` units in the requirement's order that together meet it, None if none do.

    `held` are units the requester has already. affinity(key): each chosen unit shares the key's
    value with one of them, if there are any. antiaffinity(key): its value is that of no held and no
    other chosen unit. same(key): one value for all chosen. span(n): they lie in at most n places.
    Units whose key is unknown are not chosen. Raises RequirementError on a type mismatch.
    """
    fitting = [unit for unit in units if selects(requirement, unit.attributes)]
    fitting = list(_beside(requirement.affinity, fitting, held))
    fitting = list(_apart(requirement.antiaffinity, fitting, held))
    # Filtered before sorting, grouped after: within each group the requirement's order holds.
    fitting = ordered(requirement.order, fitting, lambda unit: unit.attributes)
    for alike in _alike(requirement.same, fitting):
        for near in _near(requirement.span, alike):
            chosen = tuple(islice(_distinct(requirement.antiaffinity, near), count))
            if len(chosen) == count:
                return chosen
    return None


def _values(key: Key, units: Iterable[Unit]) -> set[Value]:
    values = (known(unit.attributes, key.name) for unit in units)
    return {value for value in values if value is not None}


def _beside(key: Key | None, units: list[Unit], held: Sequence[Unit]) -> Iterator[Unit]:
    wanted = _values(key, held) if key is not None else set()
    for unit in units:
        if key is None or not held or known(unit.attributes, key.name) in wanted:
            yield unit


def _apart(key: Key | None, units: list[Unit], held: Sequence[Unit]) -> Iterator[Unit]:
    taken = {None} | _values(key, held) if key is not None else set()
    for unit in units:
        if key is None or known(unit.attributes, key.name) not in taken:
            yield unit


def _distinct(key: Key | None, units: list[Unit]) -> Iterator[Unit]:
    """The first unit of each value of the key."""
    taken: set[Value | None] = set()
    for unit in units:
        value = known(unit.attributes, key.name) if key is not None else None
        if key is None or value not in taken:
            taken.add(value)
            yield unit


def _alike(key: Key | None, units: list[Unit]) -> Iterator[list[Unit]]:
    """Units by value of the key, the group of the first unit first."""
    if key is None:
        yield units
        return
    groups: dict[Value, list[Unit]] = {}
    for unit in units:
        if (value := known(unit.attributes, key.name)) is not None:
            groups.setdefault(value, []).append(unit)
    yield from groups.values()


def _near(span: int | None, units: list[Unit]) -> Iterator[list[Unit]]:
    """Units of at most `span` places: first those of the best units, then the fullest places."""
    places = list(dict.fromkeys(unit.place for unit in units))
    if span is None or span >= len(places):
        yield units
        return
    counts = {place: sum(unit.place == place for unit in units) for place in places}
    fullest = tuple(sorted(places, key=lambda place: -counts[place])[:span])
    # Combinations come in the order of the best units. The fullest places are tried last, in case
    # the bound cut off every set with enough units.
    tries = islice(combinations(places, span), MAX_TRIES)
    for chosen in (*tries, fullest):
        yield [unit for unit in units if unit.place in chosen]
