"""The configuration: defaults, then cri-shim.toml, then drop-ins in order, then --set.

Every key has a type and a default here; an unknown key or a wrong type is an error that names it.
"""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from berth.base.errors import InvalidArgument

DEFAULT_FILE = Path("/etc/berth/cri-shim.toml")


@dataclass(frozen=True)
class HandlerConfig:
    """One OCI runtime; `binary` empty means: found in PATH by its type."""

    type: Literal["auto", "crun", "runc"] = "auto"
    binary: str = ""


@dataclass(frozen=True)
class RuntimeConfig:
    """`default` names the handler for requests that name none.

    The handler `default` exists even where `handlers` does not list it: type auto, which is crun
    where it works on this host, else runc. `create_timeout` is for the OCI runtime, `mount_timeout`
    for the file system of a volume to answer, in seconds. `apparmor_profile` is what RuntimeDefault
    means on hosts with AppArmor: a profile that is loaded, or none. `cdi_dirs` hold CDI
    specifications, the more important directory later.
    """

    default: str = "default"
    handlers: Mapping[str, HandlerConfig] = field(default_factory=dict)
    create_timeout: float = 240.0
    mount_timeout: float = 10.0
    apparmor_profile: str = ""
    cdi_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")


@dataclass(frozen=True)
class NetworkConfig:
    mode: Literal["auto", "cni", "bridge", "none"] = "auto"
    conf_dir: str = "/etc/cni/net.d"
    bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    bridge: str = "berth0"
    subnet: tuple[str, ...] = ("10.208.0.0/16",)
    mtu: int = 0
    plugin_timeout: float = 60.0


@dataclass(frozen=True)
class ImagesConfig:
    """`insecure_registries` may speak plain HTTP; loopback addresses always may."""

    max_concurrent_downloads: int = 3
    certs_dir: str = "/etc/berth/certs.d"
    insecure_registries: tuple[str, ...] = ()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StreamingConfig:
    listen: str = "127.0.0.1:0"
    tls_cert: str = ""
    tls_key: str = ""


@dataclass(frozen=True)
class AdmissionConfig:
    socket: str = "/run/berth/node.sock"
    mode: Literal["off", "optional", "required"] = "off"


@dataclass(frozen=True)
class Config:
    root: str = "/var/lib/berth/cri"
    state: str = "/run/berth/cri"
    listen: str = "/run/berth/cri.sock"
    cgroup_driver: Literal["auto", "cgroupfs", "systemd"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    streaming: StreamingConfig = field(default_factory=StreamingConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)


def load(file: Path | None, sets: Sequence[str] = ()) -> Config:
    """Read `file` (default: the system's, which may be absent), its drop-ins, then `sets`.

    Raises InvalidArgument naming the file and the key.
    """
    document: dict[str, Any] = {}
    main = file or DEFAULT_FILE
    sources = [main] if file or main.exists() else []
    sources += sorted(main.with_suffix(".d").glob("*.toml"))
    for source in sources:
        _merge(document, _read(source))
        _check(document, str(source))
    for assignment in sets:
        _merge(document, _assignment(assignment))
        _check(document, f"--set {assignment}")
    return _check(document, "configuration")


def render(config: Config) -> str:
    """The configuration as TOML."""
    return "\n".join(_lines(dataclasses.asdict(config), ())) + "\n"


def _read(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text())
    except OSError as error:
        raise InvalidArgument(f"configuration file {source}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"configuration file {source} is not TOML: {error}") from error


def _assignment(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InvalidArgument(f"--set {text!r} is not KEY=VALUE, such as network.mode=bridge")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for part in reversed(key.split(".")):
        parsed = {part: parsed}
    return typing.cast(dict[str, Any], parsed)


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _check(document: Mapping[str, Any], source: str) -> Config:
    config: Config = _build(Config, document, "", source)
    known = {"default", *config.runtime.handlers}
    if config.runtime.default not in known:
        raise _wrong("runtime.default", source, config.runtime.default, f"one of {sorted(known)}")
    return config


def _build(cls: type[Any], document: Any, path: str, source: str) -> Any:
    """A dataclass from a table; errors name the key by its dotted path."""
    if not isinstance(document, dict):
        raise InvalidArgument(f"{source}: {path or 'the file'} must be a table")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(document) - set(hints))
    if unknown:
        known = ", ".join(sorted(hints))
        raise InvalidArgument(f"{source}: unknown key {_dot(path, unknown[0])} (known: {known})")
    values = {k: _value(hints[k], v, _dot(path, k), source) for k, v in document.items()}
    return cls(**values)


def _value(hint: Any, value: Any, path: str, source: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type[Any], hint), value, path, source)
    if origin is Literal:
        if value in args:
            return value
        raise _wrong(path, source, value, "one of " + ", ".join(map(str, args)))
    if origin is tuple:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(items)
        raise _wrong(path, source, value, "a list of strings")
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _wrong(path, source, value, "a table")
        return {k: _value(args[1], v, _dot(path, k), source) for k, v in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _wrong(path, source, value, f"a {hint.__name__}")
    return value


def _wrong(path: str, source: str, value: Any, wanted: str) -> InvalidArgument:
    return InvalidArgument(f"{source}: {path} is {value!r}: it must be {wanted}")


def _dot(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(key)} = {_toml(v)}" for key, v in table.items() if not isinstance(v, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            header = ".".join(_key(part) for part in (*path, key))
            lines += ["", f"[{header}]", *_lines(value, (*path, key))]
    return lines


def _key(text: str) -> str:
    bare = text.replace("-", "").replace("_", "").isalnum() and text.isascii()
    return text if bare else _toml(text)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ", ".join(_toml(item) for item in value) + "]"
        case _:
            return str(value)
