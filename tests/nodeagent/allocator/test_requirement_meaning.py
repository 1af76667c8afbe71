"""What requirements say: selection with unknown values, order, phases, and choosing units."""

from collections.abc import Mapping
from ipaddress import ip_address
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.allocator.requirement.attributes import Attribute, Topology, Value
from nodeagent.allocator.requirement.errors import RequirementError
from nodeagent.allocator.requirement.evaluate import names, ordered, selects
from nodeagent.allocator.requirement.parser import parse
from nodeagent.allocator.requirement.placement import Unit, choose
from nodeagent.allocator.requirement.rusage import planned

SCALE = {"cpu": 1, "mem": 1000}
ATTRIBUTES: dict[str, Value] = {
    "gpus": 4,
    "mem": 8 * 2**30,
    "mig": True,
    "model": "H100",
    "addr": ip_address("10.1.2.3"),
    "topo": Topology.parse("numa0/socket0/gpu1"),
}


def attributes(**values: Value) -> dict[str, Attribute]:
    return {name: Attribute(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("gpus >= 4", True),
        ("gpus * 2 - 1 == 7", True),
        ("-gpus < 0", True),
        ("gpus / 3 == 1", True),
        ("-gpus / 3 == -2", True),
        ("gpus / (gpus - 4) == 1", False),
        ("mig", True),
        ("!mig", False),
        ("mig == false", False),
        ('model == "H100" && mem >= 8Gi', True),
        ('model in ("A100", "H100")', True),
        ('model < "I"', True),
        ('addr == "10.1.2.3"', True),
        ('addr in ("192.168.0.0/16", "10.0.0.0/8")', True),
        ('addr in "fd00::/8"', False),
        ('addr > "10.0.0.255"', True),
        ('topo in "numa0"', True),
        ('topo in "numa0/socket1"', False),
        ('topo == "numa0/socket0/gpu1"', True),
        ("gpus in (1, 2, 4)", True),
        ("absent > 1", False),
        ("!(absent > 1)", False),
        ("absent > 1 || gpus == 4", True),
        ("absent in (1, 2) || true", True),
        ("gpus in (4, absent)", True),
        ("gpus in (3, absent)", False),
        ("defined(gpus) && !defined(absent)", True),
        ("true", True),
        ("", True),
    ],
)
def test_select(text: str, answer: bool) -> None:
    assert selects(parse(text), attributes(**ATTRIBUTES)) is answer


def test_a_stale_value_is_unknown() -> None:
    fresh = {"load": Attribute(5, period=10, age=30)}
    stale = {"load": Attribute(5, period=10, age=31)}
    for text in ("load < 9", "!(load > 9)", "defined(load)"):
        assert selects(parse(text), fresh)
        assert not selects(parse(text), stale)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("model > 3", 8),
        ("gpus", 0),
        ("gpus && mig", 0),
        ("model + 1 == 2", 0),
        ("mig < true", 0),
        ('topo < "numa1"', 0),
        ('addr == "ten"', 8),
        ('addr in "10.0.0.0/99"', 8),
        ("model in (3, 4)", 10),
        ("-mig == 1", 1),
        ("false && gpus", 9),
    ],
)
def test_types_that_do_not_fit_are_errors(text: str, position: int) -> None:
    with pytest.raises(RequirementError) as caught:
        selects(parse(text), attributes(**ATTRIBUTES))
    assert caught.value.position == position


def test_order_is_lexicographic_and_stable_with_unknown_last() -> None:
    units: list[tuple[str, Mapping[str, Attribute]]] = [
        ("a", attributes(mem=2, load=1)),
        ("b", attributes(mem=1, load=1)),
        ("c", attributes(load=1)),
        ("d", attributes(mem=2, load=0)),
        ("e", attributes(mem=2, load=1)),
    ]

    def sorted_by(text: str) -> str:
        return "".join(it[0] for it in ordered(parse(text).order, units, lambda unit: unit[1]))

    assert sorted_by("order(mem)") == "badec"
    assert sorted_by("order(-mem)") == "adebc"
    assert sorted_by("order(-mem:load)") == "daebc"
    assert sorted_by("order(load:-mem)") == "daebc"
    assert sorted_by("order(nothing)") == "abcde"


def test_names() -> None:
    assert names(parse("a > b && defined(c) order(-d) same(e)")) == set("abcde")


def test_rusage_steps_and_decays() -> None:
    phases = parse("rusage(cpu=4:mem=100:duration=10:decay=1, cpu=2:duration=4, cpu=500m)").rusage
    seen = {age: planned(phases, SCALE, age) for age in (0, 5, 9, 10, 13, 14, 10**9)}
    assert seen == {
        0: {"cpu": 4000, "mem": 100},
        5: {"cpu": 3000, "mem": 50},
        9: {"cpu": 2200, "mem": 10},
        10: {"cpu": 2000},
        13: {"cpu": 2000},
        14: {"cpu": 500},
        10**9: {"cpu": 500},
    }


def test_rusage_ends_after_a_last_duration() -> None:
    phases = parse("rusage(cpu=4:duration=10)").rusage
    assert planned(phases, SCALE, 9) == {"cpu": 4000}
    assert planned(phases, SCALE, 10) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [("rusage(model=1)", "not consumable"), ("rusage(mem=1500m)", "whole units")],
)
def test_rusage_of_what_cannot_be_consumed_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(RequirementError, match=problem):
        planned(parse(text).rusage, SCALE, 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 9), st.booleans()),
        min_size=1,
        max_size=4,
    )
)
def test_planned_use_never_increases(drawn: list[tuple[int, int, int, bool]]) -> None:
    cpu = sorted((it[0] for it in drawn), reverse=True)
    mem = sorted((it[1] for it in drawn), reverse=True)
    text = ", ".join(
        f"cpu={c}m:mem={m}:duration={it[2]}:decay={int(it[3])}"
        for c, m, it in zip(cpu, mem, drawn, strict=True)
    )
    phases = parse(f"rusage({text})").rusage
    over_time = [planned(phases, SCALE, age) for age in range(40)]
    for name in SCALE:
        amounts = [at.get(name, 0) for at in over_time]
        assert amounts == sorted(amounts, reverse=True)
    assert over_time[-1] == {}


def unit(name: str, place: str, **values: Value) -> Unit:
    return Unit(name, place, attributes(**values))


GPUS = [
    unit("g0", "n0", model="A", mem=40, rack=1),
    unit("g1", "n0", model="H", mem=80, rack=1),
    unit("g2", "n1", model="H", mem=80, rack=2),
    unit("g3", "n1", model="A", mem=40, rack=2),
    unit("g4", "n2", model="A", mem=40, rack=3),
]


@pytest.mark.parametrize(
    ("text", "count", "held", "chosen"),
    [
        ("", 2, "", "g0 g1"),
        ("mem > 40", 2, "", "g1 g2"),
        ("mem > 40", 3, "", None),
        ("order(-mem)", 3, "", "g1 g2 g0"),
        ("order(-mem) same(model)", 3, "", "g0 g3 g4"),
        ("same(model)", 4, "", None),
        ("order(-mem) span(1)", 2, "", "g1 g0"),
        ("span(1)", 3, "", None),
        ("span(2)", 4, "", "g0 g1 g2 g3"),
        ("antiaffinity(rack)", 3, "", "g0 g2 g4"),
        ("antiaffinity(rack)", 4, "", None),
        ("antiaffinity(rack)", 2, "g0", "g2 g4"),
        ("affinity(rack)", 1, "g3", "g2"),
        ("affinity(rack)", 1, "", "g0"),
        ("antiaffinity(nothing)", 1, "", None),
        ("same(nothing)", 1, "", None),
        ("same(nothing)", 0, "", None),
    ],
)
def test_choose(text: str, count: int, held: str, chosen: str | None) -> None:
    free = [it for it in GPUS if it.name not in held.split()]
    having = [it for it in GPUS if it.name in held.split()]
    found = choose(parse(text), free, count, having)
    assert (found and " ".join(it.name for it in found)) == chosen


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), max_size=7),
    st.integers(1, 4),
    st.sampled_from(["", "antiaffinity(x)"]),
    st.sampled_from(["", "span(1)", "span(2)"]),
    st.sampled_from(["", "same(y)"]),
)
@settings(max_examples=400)
def test_choose_finds_a_set_exactly_when_one_exists(
    drawn: list[tuple[int, int, int]], count: int, apart: str, span: str, same: str
) -> None:
    units = [unit(f"u{i}", f"p{p}", x=x, y=y) for i, (p, x, y) in enumerate(drawn)]

    def meets(chosen: tuple[Unit, ...]) -> bool:
        values = [(it.attributes["x"].value, it.attributes["y"].value) for it in chosen]
        places = {it.place for it in chosen}
        return (
            (not apart or len({x for x, _ in values}) == count)
            and (not same or len({y for _, y in values}) == 1)
            and (not span or len(places) <= int(span[5]))
        )

    possible = any(meets(chosen) for chosen in combinations(units, count))
    found = choose(parse(f"{apart} {span} {same}"), units, count)
    assert (found is not None) == possible
    assert found is None or meets(found)
