"""Network lists: the files of `conf_dir`, checked, and read again when the directory changes."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.base.errors import InvalidArgument

VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Oldest first. Before 0.3.0 plugins cannot be chained and results look different."""
_SUFFIXES = (".conflist", ".conf", ".json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Plugin:
    """One member of a list: the program's name and its JSON object as written."""

    type: str
    config: Mapping[str, Any]

    @property
    def capabilities(self) -> frozenset[str]:
        wanted = self.config.get("capabilities")
        if not isinstance(wanted, dict):
            return frozenset()
        return frozenset(name for name, on in wanted.items() if on is True)


@dataclass(frozen=True, slots=True)
class ConfList:
    """One network. `path` is where it was read, for messages."""

    name: str
    version: str
    plugins: tuple[Plugin, ...]
    path: str
    disable_check: bool = False

    def since(self, version: str) -> bool:
        """Whether its plugins speak at least this version of the specification."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "plugins": [dict(plugin.config) for plugin in self.plugins],
            "path": self.path,
            "disable_check": self.disable_check,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "ConfList":
        return cls(
            document["name"],
            document["version"],
            tuple(Plugin(config["type"], config) for config in document["plugins"]),
            document["path"],
            document["disable_check"],
        )


def parse(data: bytes, path: str) -> ConfList:
    """A list, or a single plugin as a list of one; InvalidArgument names the file and the field."""
    try:
        content = json.loads(data)
    except ValueError as error:
        raise InvalidArgument(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidArgument(f"{path} is not a JSON object")
    name = content.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidArgument(f"{path}: name {name!r} is not a network name (a-z 0-9 . _ -)")
    members = content.get("plugins", [content])
    if not isinstance(members, list) or not members:
        raise InvalidArgument(f"{path}: plugins is not a list with a plugin in it")
    return ConfList(
        name,
        _version(content, path),
        tuple(_plugin(member, f"{path}: plugins[{i}]") for i, member in enumerate(members)),
        path,
        content.get("disableCheck") in (True, "true"),
    )


class ConfDirectory:
    """The first usable list in lexical order of file names; a look costs one stat a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._seen: tuple[object, ...] | None = None
        self._chosen: ConfList | None = None
        self._problems: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no file of a network at all, not even a broken one."""
        self.current()
        return not self._seen

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with files that were ignored."""
        self.current()
        return self._problems

    def current(self) -> ConfList | None:
        # Network add-ons write their list minutes after we start, and replace it at an update:
        # a stat of each file is cheap enough to ask at every use, and needs no inotify watch.
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._read([name for name, *_ in seen])
        return self._chosen

    def _look(self) -> tuple[tuple[str, int, int, int], ...]:
        found = []
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if entry.name.endswith(_SUFFIXES) and entry.is_file():
                        state = entry.stat()
                        found.append((entry.name, state.st_mtime_ns, state.st_size, state.st_ino))
        except OSError:
            return ()
        return tuple(sorted(found))

    def _read(self, names: Sequence[str]) -> None:
        problems = []
        self._chosen = None
        for name in names:
            path = self.directory / name
            try:
                with path.open("rb") as file:
                    conflist = parse(file.read(_LARGEST), str(path))
            except (OSError, InvalidArgument) as error:
                problems.append(str(error))
                continue
            self._chosen = self._chosen or conflist
        self._problems = tuple(problems)


def _version(content: Mapping[str, Any], path: str) -> str:
    """The newest that we know of `cniVersions` (1.1.0), else `cniVersion`."""
    offered = content.get("cniVersions", [])
    if not isinstance(offered, list):
        raise InvalidArgument(f"{path}: cniVersions is not a list")
    offered = [*offered, content.get("cniVersion", "0.2.0")]
    known = [version for version in VERSIONS if version in offered]
    if not known:
        raise InvalidArgument(
            f"{path}: cniVersion {offered[-1]!r} is not supported: use one of {VERSIONS[1]} to "
            f"{VERSIONS[-1]}"
        )
    return known[-1]


def _plugin(member: object, where: str) -> Plugin:
    if not isinstance(member, dict):
        raise InvalidArgument(f"{where} is not a JSON object")
    kind = member.get("type")
    if not isinstance(kind, str) or not _NAME.match(kind):
        raise InvalidArgument(f"{where}.type {kind!r} is not the name of a plugin")
    return Plugin(kind, member)
