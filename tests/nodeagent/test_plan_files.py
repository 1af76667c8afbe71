"""Strict YAML: what words mean, and what is refused with its place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent.allocator.plan.problem import DocumentRefused
from nodeagent.plan_files import MAX_BYTES, read_yaml, read_yaml_file


def test_words_mean_what_they_look_like() -> None:
    text = """
    {on: no, t: true, n: null, empty: , i: 12, neg: -3, f: 0.5, time: 20:00, date: 2026-01-01,
     octal: 010, big: 12345678901234567890, "q": "1"}
    """
    found = read_yaml(text, "x")
    words = {"on": "no", "t": True, "n": None, "empty": None, "i": 12, "neg": -3, "f": 0.5}
    texts = {"time": "20:00", "date": "2026-01-01", "q": "1"}
    assert found == words | texts | {"octal": 10, "big": 12345678901234567890}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x 1\nb: *x", "plan.yaml:2:4: aliases"),
        ("a: 1\nb: 2\na: 3", "plan.yaml:3:1: a stands twice"),
        ("a: [", "plan.yaml:1:5"),
        ("a: 1\n---\nb: 2", "plan.yaml:2:1"),
        ("!!python/object:os.system {}", "plan.yaml:1:1"),
        ("[" * 20000, "nested too deeply"),
        ("a: \x00", "no YAML"),
        (b"a: \xff\xfe", "plan.yaml"),
        ("x" * (MAX_BYTES + 1), "at most"),
        ("? [a]\n: 1", "plan.yaml:1:3"),
    ],
)
def test_refused(text: str | bytes, problem: str) -> None:
    with pytest.raises(DocumentRefused) as caught:
        read_yaml(text, "plan.yaml")
    assert problem in str(caught.value)


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_bytes_are_a_document_or_refused(text: str | bytes) -> None:
    try:
        read_yaml(text, "x")
    except DocumentRefused as refused:
        assert str(refused).startswith("x")


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DocumentRefused, match="No such file"):
        read_yaml_file(tmp_path / "plan.yaml")
