"""What `check` finds on a host: one line a finding, with the remedy."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad it is; the value begins the finding's line."""

    OK = "ok"
    WARNING = "warn"
    """The daemon works, but something on this host may not."""
    ERROR = "ERROR"
    """The daemon cannot do its work until this is put right."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `remedy` is what to do about it, "" where nothing is to be done."""

    level: Level
    text: str
    remedy: str = ""

    @classmethod
    def ok(cls, text: str) -> "Finding":
        return cls(Level.OK, text)

    @classmethod
    def warning(cls, text: str, remedy: str) -> "Finding":
        return cls(Level.WARNING, text, remedy)

    @classmethod
    def error(cls, text: str, remedy: str) -> "Finding":
        return cls(Level.ERROR, text, remedy)

    def __str__(self) -> str:
        line = f"{self.level.value:<5} {self.text}"
        return f"{line}: {self.remedy}" if self.remedy else line


def exit_status(findings: Iterable[Finding]) -> int:
    """The exit status of `check`: 1 where an error was found, else 0; warnings do not count."""
    return 1 if any(finding.level is Level.ERROR for finding in findings) else 0
