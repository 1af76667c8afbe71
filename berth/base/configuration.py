"""A daemon's configuration: defaults, then its file, then drop-ins in order, then assignments.

The keys are the fields of a frozen dataclass: the annotation says what a key accepts, the default
what an absent key means. An unknown key or a wrong value is an InvalidArgument that names the
source, the key by its dotted path, and what is accepted there.

Accepted annotations: `str`, `int`, `float`, `bool`, `Path` (absolute), `Literal` of strings,
`tuple[str, ...]`, `Mapping[str, X]`, another such dataclass, and `Annotated[X, reader]` for
whatever else: `reader` makes the value from TOML's and raises `Key.refused`.
"""

import dataclasses
import json
import tomllib
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from berth.base.errors import InvalidArgument

T = TypeVar("T")

_PLAIN: Mapping[type, str] = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of one source, for errors."""

    source: str
    path: str = ""

    def below(self, name: str) -> "Key":
        """A key of the table that is this key's value."""
        return Key(self.source, f"{self.path}.{name}" if self.path else name)

    def refused(self, value: object, accepted: str) -> InvalidArgument:
        """The error of a value that this key does not accept."""
        return InvalidArgument(f"{self.source}: {self.path} is {value!r}; accepted: {accepted}")


Reader = Callable[[object, Key], Any]
"""Makes a key's value from TOML's; raises `Key.refused`."""


def load(
    cls: type[T],
    file: Path | None,
    default_file: Path,
    assignments: Sequence[str] = (),
    check: Callable[[T, str], None] = lambda config, source: None,
) -> T:
    """The configuration after all sources; a later source wins, key by key.

    `file` None means `default_file`, which may be absent; a file that was asked for may not.
    Drop-ins are `NAME.d/*.toml` beside the file, by name. `check` sees the whole after each
    source and raises InvalidArgument for what no single key shows.
    """
    main = file or default_file
    sources = [main] if file or main.exists() else []
    # Lexical order, as in systemd's .d directories: 10-site.toml comes before 20-node.toml.
    sources += sorted(main.with_suffix(".d").glob("*.toml"))
    document: dict[str, Any] = {}
    config = cls()
    # Read after every source and not once at the end, so that an error names the source that
    # brought it.
    for source in sources:
        _merge(document, _parse(source))
        config = _checked(cls, document, str(source), check)
    for assignment in assignments:
        _merge(document, _assigned(assignment))
        config = _checked(cls, document, f"--set {assignment}", check)
    return config


def _checked(cls: type[T], document: object, source: str, check: Callable[[T, str], None]) -> T:
    config: T = _table(cls, document, Key(source))
    check(config, source)
    return config


def _parse(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text("utf-8"))
    except OSError as error:
        raise InvalidArgument(f"{source}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{source}: is not TOML: {error}") from error


def _assigned(assignment: str) -> dict[str, Any]:
    """`a.b=value` as tables. The key is TOML's; the value too, or else a bare string."""
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise InvalidArgument(f"--set {assignment}: write KEY=VALUE, such as log_level=debug")
    try:
        tables = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        text = f"--set {assignment}: {key!r} is not a key; quote parts with a dot or slash"
        raise InvalidArgument(text) from error
    inner: dict[str, Any] = tables
    while isinstance(below := next(iter(inner.values())), dict):
        inner = below
    inner[next(iter(inner))] = _assigned_value(text)
    return tables


def _assigned_value(text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text  # log_level=debug: a shell would have eaten the quotes
    # A line break in the text would begin further keys.
    return found["value"] if len(found) == 1 else text


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Tables merge key by key; anything else, a list too, is replaced whole."""
    for key, value in other.items():
        present = into.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value)
        else:
            into[key] = value


def _table(cls: type[Any], value: object, key: Key) -> Any:
    if not isinstance(value, dict):
        raise key.refused(value, "a table")
    hints = typing.get_type_hints(cls, include_extras=True)
    for name in value:
        if name not in hints:
            known = ", ".join(sorted(hints))
            raise InvalidArgument(
                f"{key.source}: unknown key {key.below(name).path}; known: {known}"
            )
    return cls(**{name: _value(hints[name], it, key.below(name)) for name, it in value.items()})


def _value(hint: Any, value: object, key: Key) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        reader: Reader = args[1]
        return reader(value, key)
    if dataclasses.is_dataclass(hint):
        return _table(typing.cast(type[Any], hint), value, key)
    if origin is Literal:
        if value not in args:
            raise key.refused(value, ", ".join(args))
        return value
    if origin is tuple:
        return _strings(value, key)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise key.refused(value, "a table")
        return {name: _value(args[1], it, key.below(name)) for name, it in value.items()}
    if hint is Path:
        return _absolute_path(value, key)
    return _plain(hint, value, key)


def _plain(hint: type[Any], value: object, key: Key) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    # `type`, for isinstance would take true for a whole number.
    if type(value) is not hint:
        raise key.refused(value, _PLAIN[hint])
    return value


def _strings(value: object, key: Key) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise key.refused(value, "a list of strings")
    return tuple(items)


def _absolute_path(value: object, key: Key) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise key.refused(value, "an absolute path")
    return Path(value)


def render(config: Any) -> str:
    """A configuration dataclass as TOML that reads back equal."""
    return "\n".join(_lines(dataclasses.asdict(config), ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    # TOML has no way back out of a table: its plain keys come first, the tables below it after.
    lines = [f"{_name(key)} = {_toml(v)}" for key, v in table.items() if not isinstance(v, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            header = ".".join(_name(part) for part in (*path, key))
            lines += ["", f"[{header}]", *_lines(value, (*path, key))]
    return lines


def _name(text: str) -> str:
    bare = text.replace("-", "").replace("_", "").isalnum() and text.isascii()
    return text if bare else _toml(text)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | Path():
            # The escapes of JSON are escapes of TOML's basic strings too.
            return json.dumps(str(value), ensure_ascii=False)
        case list() | tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            return str(value)
