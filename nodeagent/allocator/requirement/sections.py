"""The sections of a requirement: frozen values whose `str` is the canonical text.

`parse(str(requirement)) == requirement` for every requirement within the bounds.
"""

from dataclasses import dataclass

from nodeagent.allocator.requirement.syntax import Expression, position_field
from nodeagent.allocator.requirement.tokens import written_key


@dataclass(frozen=True, slots=True)
class OrderKey:
    """An attribute to sort by, ascending unless `descending`."""

    name: str
    descending: bool = False
    position: int = position_field()

    def __str__(self) -> str:
        return ("-" if self.descending else "") + written_key(self.name)


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a resource, in thousandths of the unit users write (cpu=500m: 500)."""

    resource: str
    thousandths: int
    position: int = position_field()

    def __str__(self) -> str:
        whole, rest = divmod(self.thousandths, 1000)
        amount = f"{self.thousandths}m" if rest else str(whole)
        return f"{written_key(self.resource)}={amount}"


@dataclass(frozen=True, slots=True)
class Phase:
    """What is used for `duration` seconds (None: until the end); `decay` gives it back evenly."""

    usages: tuple[Usage, ...]
    duration: int | None = None
    decay: bool = False
    position: int = position_field()

    def __str__(self) -> str:
        parts = [str(usage) for usage in self.usages]
        if self.duration is not None:
            parts.append(f"duration={self.duration}")
            if self.decay:
                parts.append("decay=1")
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Key:
    """The attribute of an affinity, antiaffinity or same section."""

    name: str
    position: int = position_field()

    def __str__(self) -> str:
        return written_key(self.name)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A whole requirement; an absent section is None or empty."""

    # None is "not written", which an empty text round-trips to; `select(true)` is another value,
    # though it selects the same.
    select: Expression | None = None
    order: tuple[OrderKey, ...] = ()
    rusage: tuple[Phase, ...] = ()
    affinity: Key | None = None
    antiaffinity: Key | None = None
    span: int | None = None
    same: Key | None = None

    def __str__(self) -> str:
        sections = {
            "select": self.select,
            "order": ":".join(map(str, self.order)) or None,
            "rusage": ", ".join(map(str, self.rusage)) or None,
            "affinity": self.affinity,
            "antiaffinity": self.antiaffinity,
            "span": self.span,
            "same": self.same,
        }
        return " ".join(f"{name}({it})" for name, it in sections.items() if it is not None)
