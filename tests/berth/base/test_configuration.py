"""The configuration reader, apart from any daemon's keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from berth.base.configuration import Key, load, render
from berth.base.errors import InvalidArgument


def _even(value: object, key: Key) -> int:
    if not isinstance(value, int) or value % 2:
        raise key.refused(value, "an even number")
    return value


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Keys:
    log_level: Literal["debug", "info"] = "info"
    path: Path = Path("/default")
    count: int = 1
    on: bool = False
    even: Annotated[int, _even] = 0
    inner: Inner = field(default_factory=Inner)
    tables: Mapping[str, Inner] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def loaded(main: Path, text: str, *assignments: str) -> Keys:
    main.write_text(text)
    return load(Keys, main, Path("/nonexistent"), assignments)


def test_later_sources_win_key_by_key(main: Path) -> None:
    main.with_suffix(".d").mkdir()
    main.with_suffix(".d").joinpath("20.toml").write_text("count = 20")
    main.with_suffix(".d").joinpath("10.toml").write_text('count = 10\npath = "/drop-in"')
    main.with_suffix(".d").joinpath("90.conf").write_text("no drop-in")
    text = 'count = 1\n[inner]\nrate = 2\nnames = ["b"]'
    keys = loaded(main, text, "inner.names=c", "log_level=debug", 'tables."a.b".rate=5')
    assert keys == Keys(
        log_level="debug",
        path=Path("/drop-in"),
        count=20,
        inner=Inner(2.0, ("c",)),
        tables={"a.b": Inner(rate=5.0)},
    )


def test_without_any_source_the_defaults_hold(main: Path) -> None:
    assert load(Keys, None, main) == Keys()


def test_the_default_file_is_read_where_it_exists(main: Path) -> None:
    main.write_text("count = 3")
    assert load(Keys, None, main).count == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cuont = 1", "unknown key cuont; known: count, even, inner, log_level,"),
        ("[tables.x]\nrat = 1", "unknown key tables.x.rat; known: names, rate"),
        ("count = true", "count is True; accepted: a whole number"),
        ("count = 1.5", "count is 1.5; accepted: a whole number"),
        ("on = 1", "on is 1; accepted: true or false"),
        ('inner.rate = "x"', "inner.rate is 'x'; accepted: a number"),
        ("inner.names = [1]", r"inner.names is \[1\]; accepted: a list of strings"),
        ("even = 3", "even is 3; accepted: an even number"),
        ("inner = 3", "inner is 3; accepted: a table"),
        ("tables = 3", "tables is 3; accepted: a table"),
        ("texts.a = 3", "texts.a is 3; accepted: a string"),
        ('path = "here"', "path is 'here'; accepted: an absolute path"),
        ("log_level = 5", "log_level is 5; accepted: debug, info"),
        ("log_level = []", r"log_level is \[\]; accepted: debug, info"),
        ("count = ", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_source(main: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"keys\.toml: {problem}"):
        loaded(main, text)


def test_a_file_that_was_asked_for_must_be_there(main: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"keys\.toml: cannot be read: No such file"):
        load(Keys, main, Path("/nonexistent"))


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("count", "--set count: write KEY=VALUE"),
        ("=1", "--set =1: write KEY=VALUE"),
        ("a b=1", "--set a b=1: 'a b' is not a key"),
        ("count=x", "--set count=x: count is 'x'"),
        ("count=1\non=true", "count is '1.non=true'"),
    ],
)
def test_wrong_assignments(main: Path, assignment: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        loaded(main, "", assignment)


def test_a_check_sees_the_whole_after_each_source(main: Path) -> None:
    def check(keys: Keys, source: str) -> None:
        if keys.on and not keys.texts:
            raise Key(source, "on").refused(keys.on, "true with texts")

    main.write_text("on = true")
    with pytest.raises(InvalidArgument, match=r"keys\.toml: on is True; accepted: true with texts"):
        load(Keys, main, Path("/nonexistent"), (), check)


def test_what_is_printed_reads_back_equal(main: Path) -> None:
    keys = Keys(
        path=Path('/odd "name"\\'),
        on=True,
        tables={"a.b/c": Inner(0.5, ())},
        texts={"lines": "a\nb\tc", "": "ü"},
    )
    assert loaded(main, render(keys)) == keys
