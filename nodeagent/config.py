"""The agent's configuration: defaults, then nodeagent.toml, then drop-ins in order, then --set.

Every key has a type and a default here; an unknown key or a wrong value is an error that names it.
"""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from berth.base.quantity import QuantityError, Vector, parse_quantity

DEFAULT_FILE = Path("/etc/berth/nodeagent.toml")
_LEVELS = ("debug", "info", "warning", "error")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names source, key, and what is accepted."""


@dataclass(frozen=True, slots=True)
class Config:
    """`capacity` replaces what the host has, by resource, in base units; 0 takes a resource out.

    `slices` are the capacities of further groups of the plan; the first group has the rest.
    `queues` maps Kueue local queues to leaves of the plan where their names differ.
    """

    socket: Path = Path("/run/berth/node.sock")
    state: Path = Path("/var/lib/berth/node")
    plan: Path = Path("/etc/berth/plan.yaml")
    cri_socket: Path = Path("/run/berth/cri.sock")
    log_level: str = "info"
    queues: Mapping[str, str] = field(default_factory=dict)
    capacity: Vector = field(default_factory=dict)
    slices: Mapping[str, Vector] = field(default_factory=dict)


def load(file: Path | None, assignments: Sequence[str] = ()) -> Config:
    """Read `file` (default: the system's, which may be absent), its drop-ins, then assignments.

    Raises ConfigError naming the source and the key.
    """
    main = file or DEFAULT_FILE
    sources = [main] if file is not None or main.exists() else []
    sources += sorted(main.with_suffix(".d").glob("*.toml"))
    table: dict[str, Any] = {}
    for source in sources:
        _merge(table, _read(source))
        _config(table, str(source))
    for assignment in assignments:
        _merge(table, _assigned(assignment))
        _config(table, f"--set {assignment}")
    return _config(table, "the configuration")


def _read(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text("utf-8"))
    except OSError as cause:
        raise ConfigError(f"{source}: cannot be read: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{source}: is no TOML: {cause}") from cause


def _assigned(assignment: str) -> dict[str, Any]:
    """`a.b=value` as tables; the value is TOML, or a bare word."""
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {assignment}: write KEY=VALUE, such as log_level=debug")
    for value in (text, _quoted(text)):
        try:
            return tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigError(f"--set {assignment}: {key!r} is no key; quote parts with a dot or slash")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        present = into.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            _merge(present, value)
        else:
            into[key] = value


def _config(table: Mapping[str, Any], source: str) -> Config:
    for key in table:
        if key not in _READERS:
            known = ", ".join(it.name for it in fields(Config))
            raise ConfigError(f"{source}: unknown key {key}; known: {known}")
    return Config(**{key: _READERS[key](value, source, key) for key, value in table.items()})


_Reader = Callable[[object, str, str], Any]


def _dotted(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _refused(value: object, source: str, path: str, accepted: str) -> ConfigError:
    return ConfigError(f"{source}: {path} is {value!r}; accepted: {accepted}")


def _text(value: object, source: str, path: str) -> str:
    if not isinstance(value, str):
        raise _refused(value, source, path, "a text in quotes")
    return value


def _absolute(value: object, source: str, path: str) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise _refused(value, source, path, "an absolute path")
    return Path(value)


def _level(value: object, source: str, path: str) -> str:
    if value not in _LEVELS:
        raise _refused(value, source, path, ", ".join(_LEVELS))
    return str(value)


def _texts(value: object, source: str, path: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _refused(value, source, path, "a table of texts")
    return {key: _text(it, source, _dotted(path, key)) for key, it in value.items()}


def _vector(value: object, source: str, path: str) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise _refused(value, source, path, 'a table such as {cpu = "8", memory = "16Gi"}')
    return {name: _amount(name, it, source, _dotted(path, name)) for name, it in value.items()}


def _amount(resource: str, value: object, source: str, path: str) -> int:
    try:
        return parse_quantity(resource, value)
    except QuantityError as cause:
        raise _refused(value, source, path, cause.accepted) from cause


def _vectors(value: object, source: str, path: str) -> dict[str, dict[str, int]]:
    if not isinstance(value, Mapping):
        raise _refused(value, source, path, "a table of capacities by group")
    return {name: _vector(it, source, _dotted(path, name)) for name, it in value.items()}


_READERS: Mapping[str, _Reader] = {
    "socket": _absolute,
    "state": _absolute,
    "plan": _absolute,
    "cri_socket": _absolute,
    "log_level": _level,
    "queues": _texts,
    "capacity": _vector,
    "slices": _vectors,
}
