"""Requirement text to tree and back: every text is read or refused, every tree round trips."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.allocator.requirement.errors import RequirementError
from nodeagent.allocator.requirement.parser import parse
from nodeagent.allocator.requirement.sections import Key, OrderKey, Phase, Requirement, Usage
from nodeagent.allocator.requirement.syntax import (
    AllOf,
    Among,
    AnyOf,
    Arithmetic,
    Bool,
    Compare,
    Comparison,
    Defined,
    Expression,
    Int,
    Name,
    Negative,
    Not,
    Operation,
    Text,
)
from nodeagent.allocator.requirement.tokens import MAX_TEXT

names = st.one_of(
    st.sampled_from(["a", "gpu.mem", "nvidia.com/gpu", "in", "select", "same", "a b", "hp-2Mi"]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]{0,8}", fullmatch=True),
)
numbers = st.integers(min_value=0, max_value=2**63 - 1)
leaves = st.one_of(
    st.builds(Int, numbers),
    st.builds(Bool, st.booleans()),
    st.builds(Text, st.text(max_size=8)),
    st.builds(Name, names),
    st.builds(Defined, names),
)


def _grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Not, inner),
        st.builds(Negative, inner),
        st.builds(Arithmetic, st.sampled_from(Operation), inner, inner),
        st.builds(Compare, st.sampled_from(Comparison), inner, inner),
        st.builds(Among, inner, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(AllOf, several),
        st.builds(AnyOf, several),
    )


expressions = st.recursive(leaves, _grow, max_leaves=12)


@st.composite
def phases(draw: st.DrawFn) -> tuple[Phase, ...]:
    count = draw(st.integers(1, 3))
    resources = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    falling = {
        name: sorted(draw(st.lists(numbers, min_size=count, max_size=count)), reverse=True)
        for name in resources
    }
    result = []
    for index in range(count):
        usages = tuple(Usage(name, falling[name][index] // 1000) for name in resources)
        ends = index + 1 < count or draw(st.booleans())
        duration = draw(st.integers(1, 10**6)) if ends else None
        result.append(Phase(usages, duration, ends and draw(st.booleans())))
    return tuple(result)


requirements = st.builds(
    Requirement,
    select=st.none() | expressions,
    order=st.lists(st.builds(OrderKey, names, st.booleans()), max_size=3).map(tuple),
    rusage=st.just(()) | phases(),
    affinity=st.none() | st.builds(Key, names),
    antiaffinity=st.none() | st.builds(Key, names),
    span=st.none() | st.integers(1, 100),
    same=st.none() | st.builds(Key, names),
)


@given(requirements)
@settings(max_examples=400)
def test_canonical_text_reads_back_as_the_same_tree(tree: Requirement) -> None:
    text = str(tree)
    if len(text) <= MAX_TEXT:
        assert parse(text) == tree
        assert str(parse(text)) == text


WORDS = (
    "select order rusage affinity antiaffinity span same in true false defined duration decay "
    '( ) , : = == != <= >= < > ! && || + - * / a b.c 1 8Gi 30m "s" \'x\' ` `q` \\ " é'
)
words = st.sampled_from(WORDS.split(" "))


@given(st.one_of(st.text(max_size=60), st.lists(words, max_size=25).map(" ".join)))
@settings(max_examples=1500)
def test_any_text_is_a_tree_or_a_requirement_error(text: str) -> None:
    try:
        tree = parse(text)
    except RequirementError as error:
        assert 0 <= error.position <= len(text)
        assert error.expected
        assert str(error.position) in str(error)
        return
    assert parse(str(tree)) == tree


@pytest.mark.parametrize(
    "bomb",
    [
        "(" * 2000,
        "!" * 4000 + "a",
        "-" * 4000 + "1",
        "a" + "+a" * 2000,
        "a in (" * 500,
        "a in b in " * 300,
        "((((a)+1)+1)+1)" * 200,
        "a" + " && !(a" * 300,
        "9" * 4000,
        "9000Pi",
        "a" * 5000,
        '"' + "x" * 5000,
        "(" * 60 + "a" + ")" * 60 + "+1" * 32,
    ],
)
def test_bombs_are_refused(bomb: str) -> None:
    with pytest.raises(RequirementError):
        parse(bomb)


def test_wide_conditions_are_no_bomb() -> None:
    wide = " || ".join(["a"] * 800)
    assert parse(wide).select == AnyOf((Name("a"),) * 800)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("gpu > 1", "select(gpu > 1)"),
        ("select(gpu>1) same(model)", "select(gpu > 1) same(model)"),
        ("mem >= 8Gi order(-mem:name)", "select(mem >= 8589934592) order(-mem:name)"),
        ("a || b && !c == d", "select(a || b && !c == d)"),
        ("(a || b) && c", "select((a || b) && c)"),
        ("a - (b - c) - d", "select(a - (b - c) - d)"),
        ('ip in "10.0.0.0/8"', 'select(ip in ("10.0.0.0/8"))'),
        ("model in ('x', 'y')", 'select(model in ("x", "y"))'),
        ("defined(x) && `order` > 2", "select(defined(x) && `order` > 2)"),
        (
            "rusage(cpu=2:nvidia.com/gpu=1:duration=30m:decay=1, cpu=500m)",
            "rusage(cpu=2:nvidia.com/gpu=1:duration=1800:decay=1, cpu=500m)",
        ),
        ("affinity(numa) antiaffinity(host) span(2)", "affinity(numa) antiaffinity(host) span(2)"),
        ("order(hugepages-2Mi)", "order(hugepages-2Mi)"),
    ],
)
def test_examples(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("a b", 2, "unexpected 'b'"),
        ("a ==", 4, "the end of the requirement"),
        ("a == b == c", 7, "do not chain"),
        ("a = b", 2, "unexpected '='"),
        ("f(x)", 1, "unexpected '('"),
        ("order(a) select(b)", 9, "select comes late"),
        ("order(a) b", 9, "unexpected 'b'"),
        ("a select(b)", 2, "a second select"),
        ("same(a) same(b)", 8, "a second same"),
        ("select()", 7, "unexpected ')'"),
        ("span(0)", 5, "span(0)"),
        ("span(x)", 5, "unexpected 'x'"),
        ("rusage(cpu=2, cpu=3)", 7, "no duration"),
        ("rusage(cpu=2:duration=5, cpu=3)", 25, "increases"),
        ("rusage(cpu=2:duration=5, mem=3)", 25, "increases"),
        ("rusage(cpu=2:cpu=1)", 13, "twice"),
        ("rusage(cpu=2:decay=1)", 13, "unexpected 'decay'"),
        ("rusage(cpu=2:duration=0)", 22, "no duration"),
        ("rusage(cpu=2:duration=1:decay=2)", 30, "decay=2"),
        ("rusage(cpu)", 10, "unexpected ')'"),
        ("rusage(duration=1)", 7, "word of the language"),
        ("a $ b", 2, "unexpected '$'"),
        ('a == "b', 5, "not closed"),
        ("a == 3Xi", 5, "unexpected '3Xi'"),
        ("order(-)", 7, "unexpected ')'"),
    ],
)
def test_errors_name_the_place(text: str, position: int, problem: str) -> None:
    with pytest.raises(RequirementError) as caught:
        parse(text)
    assert caught.value.position == position
    assert problem in str(caught.value)
