"""Plan and scenario files: YAML, strictly: no aliases, no double keys, bounded size and depth.

Plain scalars mean what they look like: only `true` and `false` are booleans, `08:00` and `no` are
texts (the core schema of YAML 1.2), so that a consumer may be called `on`.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from nodeagent.allocator.plan.problem import DocumentRefused, Findings

MAX_BYTES = 4 << 20
_YAML = "tag:yaml.org,2002:"
_SCALARS: tuple[tuple[str, str, list[str]], ...] = (
    # In YAML 1.1, which is PyYAML's own, `no` and `on` are booleans, 08:00 is a number to base 60,
    # and 010 is octal.
    ("bool", r"true|false|True|False|TRUE|FALSE", [*"tTfF"]),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("int", r"[-+]?[0-9]{1,40}", [*"-+0123456789"]),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?", [*"-+.0123456789"]),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema, without aliases and double keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Aliases of aliases make a short text into gigabytes ("billion laughs").
        if self.check_event(yaml.events.AliasEvent):
            alias = self.get_event()  # type: ignore[no-untyped-call]  # the stubs lack it
            raise yaml.MarkedYAMLError(None, None, "aliases are not accepted", alias.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # PyYAML would silently take the last of two equal keys.
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep=deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> int:
        return int(node.value)


_Loader.yaml_implicit_resolvers = {}
_Loader.add_constructor(f"{_YAML}int", _Loader.construct_decimal)
for _name, _form, _starts in _SCALARS:
    _Loader.add_implicit_resolver(_YAML + _name, re.compile(rf"(?:{_form})\Z"), _starts)


def read_yaml(text: str | bytes, name: str) -> Any:
    """The one document in `text`. Raises DocumentRefused naming `name` and the line."""
    findings = Findings()
    if len(text) > MAX_BYTES:
        findings.add(name, f"has {len(text)} bytes", f"at most {MAX_BYTES} bytes")
    findings.refuse_if_any()
    try:
        return yaml.load(text, _Loader)  # a subclass of the safe loader
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        findings.add(where, str(cause.problem), "YAML without aliases and double keys")
    except yaml.YAMLError as cause:
        findings.add(name, f"is no YAML: {' '.join(str(cause).split())}", "a YAML document")
    except RecursionError:
        findings.add(name, "is nested too deeply", "at most some hundred levels")
    except UnicodeDecodeError as cause:
        findings.add(name, f"is no UTF-8: {cause.reason}", "a YAML document in UTF-8")
    raise DocumentRefused(findings.problems)


def read_yaml_file(path: Path) -> Any:
    """The document in a file. Raises DocumentRefused, also where the file cannot be read."""
    findings = Findings()
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)  # one more, so that `read_yaml` sees it is too long
    except OSError as cause:
        findings.add(str(path), f"cannot be read: {cause.strerror}", "a readable file")
        raise DocumentRefused(findings.problems) from cause
    return read_yaml(text, str(path))
