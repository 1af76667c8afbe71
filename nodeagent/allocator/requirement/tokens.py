"""Text of a requirement to tokens, bounded in length; and how names are written in it."""

import re
from dataclasses import dataclass
from enum import Enum

from nodeagent.allocator.requirement.errors import RequirementError

SECTIONS = ("select", "order", "rusage", "affinity", "antiaffinity", "span", "same")
RESERVED = frozenset((*SECTIONS, "in", "true", "false", "defined", "duration", "decay"))
"""What means something by itself; as a name of an attribute it stands in backquotes."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(?:[/-](?:[A-Za-z_][A-Za-z0-9_.]*|[0-9]+[A-Za-z]*))*\Z")
MAX_TEXT = 4096
"""Longest requirement in characters, so that reading one takes a bounded time."""
SHOWN = 24
"""Longest part of a token that an error quotes."""


class Kind(Enum):
    """Class of a token."""

    NAME = "a name"
    QUOTED_NAME = "a name in backquotes"
    NUMBER = "a number"
    TEXT = "a quoted string"
    SIGN = "a sign"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: `text` is a string's content without quotes and escapes, else as written."""

    kind: Kind
    text: str
    position: int
    end: int

    def __str__(self) -> str:
        match self.kind:
            case Kind.END:
                return "the end of the requirement"
            case _:
                shown = self.text if len(self.text) <= SHOWN else self.text[:SHOWN] + "…"
                return repr(shown)


# A number keeps its suffix (`8Gi`, `500m`, `90s`): which ones are right depends on the section that
# reads it. No alternative can match the empty text, so every step goes on.
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<quoted>`[^`\x00-\x1f\x7f]+`)
      | (?P<number>[0-9]+[A-Za-z]*)
      | (?P<text>"(?:[^"\\]|\\["'\\])*"|'(?:[^'\\]|\\["'\\])*')
      | (?P<sign>\|\||&&|==|!=|<=|>=|[<>!+\-*/(),:=])""",
    re.VERBOSE,
)
_KINDS = {
    "name": Kind.NAME,
    "quoted": Kind.QUOTED_NAME,
    "number": Kind.NUMBER,
    "text": Kind.TEXT,
    "sign": Kind.SIGN,
}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def tokens(text: str) -> tuple[Token, ...]:
    """All tokens of `text`, ending with one END; raise RequirementError at the first bad one."""
    if len(text) > MAX_TEXT:
        raise RequirementError(
            f"{len(text)} characters are too long", MAX_TEXT, f"at most {MAX_TEXT} characters"
        )
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        if match.lastgroup != "space":
            found.append(_token(match))
        position = match.end()
    return (*found, Token(Kind.END, "", position, position))


def _token(match: re.Match[str]) -> Token:
    kind = _KINDS[str(match.lastgroup)]
    raw = match.group()
    if kind is Kind.TEXT:
        raw = _ESCAPE.sub(r"\1", raw[1:-1])
    elif kind is Kind.QUOTED_NAME:
        raw = raw[1:-1]
    return Token(kind, raw, match.start(), match.end())


def _unreadable(text: str, position: int) -> RequirementError:
    if text[position] in "\"'":
        return RequirementError(
            "a string is not closed or escapes something else than a quote or a backslash",
            position,
            f"a closing {text[position]}",
        )
    if text[position] == "`":
        return RequirementError("a quoted name is empty or not closed", position, "`name`")
    return RequirementError(
        f"unexpected {text[position]!r}", position, "a name, a number, a string or an operator"
    )


def written(name: str) -> str:
    """A name inside an expression, where `/` and `-` are operators."""
    return name if _NAME.match(name) and name not in RESERVED else f"`{name}`"


def written_key(name: str) -> str:
    """A name inside another section, as in `nvidia.com/gpu`."""
    return name if _KEY.match(name) and name not in RESERVED else f"`{name}`"
