"""Attributes of a unit: typed values, static or with an age."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

STALE_AFTER_PERIODS = 3
"""A dynamic value older than this many of its periods is stale."""


@dataclass(frozen=True, slots=True, order=True)
class Topology:
    """A place as a path from the outermost part, as in `numa0/socket0/gpu1`."""

    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Topology":
        """Read `a/b/c`; empty parts are dropped."""
        return cls(tuple(part for part in text.split("/") if part))

    def within(self, outer: "Topology") -> bool:
        """Whether this place is `outer` or lies inside it."""
        # Part by part, not as texts: numa1 is no outer part of numa10.
        return self.path[: len(outer.path)] == outer.path

    def __str__(self) -> str:
        return "/".join(self.path)


Address = IPv4Address | IPv6Address
Value = int | bool | str | Address | Topology


class Source(Enum):
    """Where a value comes from."""

    BUILTIN = "builtin"
    USER = "user"
    SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value and how far it can be trusted.

    `period` is the seconds between two readings of a dynamic value, None for a static one; `age`
    the seconds since the last reading.
    """

    value: Value
    source: Source = Source.BUILTIN
    period: int | None = None
    age: int = 0
    unit: str = ""

    @property
    def stale(self) -> bool:
        """A dynamic value that was not read for STALE_AFTER_PERIODS periods."""
        return self.period is not None and self.age > STALE_AFTER_PERIODS * self.period


Attributes = Mapping[str, Attribute]


def known(attributes: Attributes, name: str) -> Value | None:
    """The value to go by, None if there is none or it is stale."""
    found = attributes.get(name)
    return None if found is None or found.stale else found.value


def type_name(value: Value) -> str:
    """The language's name for the type of a value."""
    match value:
        # A bool is an int in Python, so it is looked for first.
        case bool():
            return "bool"
        case int():
            return "int"
        case str():
            return "string"
        case IPv4Address() | IPv6Address():
            return "ip"
        case Topology():
            return "topology"
