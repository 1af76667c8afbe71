"""Problems found in a document: each with its path, what was found and what would be accepted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_LONGEST = 80
MOST = 100
"""Problems reported for one document; a document with more is refused with the first ones."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a document, e.g. at `spec.groups[0].windows[0].consumers[1].own.cpu`."""

    path: str
    fault: str
    accepted: str

    def __str__(self) -> str:
        return f"{self.path}: {self.fault}; accepted: {self.accepted}"


class DocumentRefused(ValueError):
    """A document that was refused whole; what was in force before stays in force."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(value: object) -> str:
    """A value as an error text shows it: short, whatever came in."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    # `repr` of an int of more than 4,300 digits raises ValueError (CVE-2020-10735).
    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return "a very large number"
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


@dataclass(slots=True)
class Findings:
    """The problems collected while one document is read."""

    problems: list[Problem] = field(default_factory=list)

    def add(self, path: str, fault: str, accepted: str) -> None:
        """Keep one problem; nothing is raised before the whole document has been read."""
        # A generated plan may be wrong in every line; nobody reads the thousandth problem.
        if len(self.problems) < MOST:
            self.problems.append(Problem(path, fault, accepted))

    def found(self, path: str, value: object, accepted: str) -> None:
        """Keep the problem that `value` stands where `accepted` belongs."""
        self.add(path, f"found {shown(value)}", accepted)

    def mapping(self, path: str, value: object, accepted: str) -> Mapping[str, Any] | None:
        """The value if it is a mapping with text keys."""
        if not isinstance(value, Mapping):
            self.found(path, value, accepted)
            return None
        odd = [key for key in value if not isinstance(key, str)]
        for key in odd:
            self.found(path, key, "keys that are text")
        return None if odd else value

    def sequence(self, path: str, value: object, accepted: str) -> list[Any] | None:
        """The value if it is a list."""
        if isinstance(value, list | tuple):
            return list(value)
        self.found(path, value, accepted)
        return None

    def known_keys(self, path: str, value: Mapping[str, Any], known: Iterable[str]) -> None:
        """Keep a problem for every key that nobody reads."""
        names = sorted(known)
        for key in value:
            if key not in names:
                self.add(join(path, key), "is not a known field", "one of " + ", ".join(names))

    def boolean(self, path: str, value: object) -> bool:
        """The value if it is true or false; else a problem and False."""
        if not isinstance(value, bool):
            self.found(path, value, "true or false")
            return False
        return value

    def integer(self, path: str, value: object, lowest: int, highest: int) -> int:
        """The value if it is a whole number in range; else a problem and `lowest`."""
        # YAML's `yes` is True, and True is an int in Python.
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not isinstance(value, int) or not lowest <= value <= highest:
            self.found(path, value, f"a whole number from {lowest} to {highest}")
            return lowest
        return value

    def refuse_if_any(self) -> None:
        """Raise DocumentRefused with everything that was found, if anything was."""
        if self.problems:
            raise DocumentRefused(self.problems)


def join(path: str, key: str) -> str:
    """The path of a field: keys with dots or odd characters stand in brackets."""
    short = key if len(key) <= _LONGEST else key[:_LONGEST] + "…"
    plain = short.replace("/", "").replace("-", "").replace("_", "").isalnum()
    name = short if plain or ("." in short and "/" in short) else f"[{short!r}]"
    if not path:
        return name
    return path + name if name.startswith("[") else f"{path}.{name}"
