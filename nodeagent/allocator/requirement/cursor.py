"""Reading tokens one after the other: look, take, or say what was expected."""

from typing import NoReturn

from nodeagent.allocator.requirement.errors import RequirementError
from nodeagent.allocator.requirement.tokens import RESERVED, Kind, Token, tokens

MAX_NUMBER = 2**63 - 1
_MAX_DIGITS = len(str(MAX_NUMBER))
SUFFIXES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "P": 10**15,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
}
SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Cursor:
    """A position in the tokens of one requirement."""

    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._next = 0

    @property
    def token(self) -> Token:
        """The token to read next; END at the end, for ever."""
        return self._tokens[self._next]

    @property
    def after(self) -> Token:
        """The token behind `token`."""
        return self._tokens[min(self._next + 1, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The token, and go on to the next."""
        token = self.token
        if token.kind is not Kind.END:
            self._next += 1
        return token

    def accept(self, sign: str) -> bool:
        """Take `sign` if it is next."""
        if self.at(sign):
            self.take()
            return True
        return False

    def at(self, sign: str) -> bool:
        """Whether the sign is next."""
        return self.token.kind is Kind.SIGN and self.token.text == sign

    def at_word(self, word: str) -> bool:
        """Whether the reserved word is next."""
        return self.token.kind is Kind.NAME and self.token.text == word

    def expect(self, sign: str, expected: str | None = None) -> None:
        """Take `sign` or refuse."""
        if not self.accept(sign):
            self.refuse(expected or repr(sign))

    def refuse(self, expected: str) -> NoReturn:
        """Refuse the token that is next."""
        raise RequirementError(f"unexpected {self.token}", self.token.position, expected)

    def number(self, suffixes: dict[str, int], expected: str) -> int:
        """Take a number with one of `suffixes`; its value, at most MAX_NUMBER."""
        token = self.token
        digits = token.text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        suffix = token.text[len(digits) :]
        if token.kind is not Kind.NUMBER or suffix not in suffixes:
            self.refuse(expected)
        # Leading zeros off, and the length compared before `int`: converting thousands of digits
        # takes quadratic time (CVE-2020-10735).
        significant = digits.lstrip("0") or "0"
        if len(significant) > _MAX_DIGITS or int(significant) * suffixes[suffix] > MAX_NUMBER:
            raise RequirementError(f"{token} is too large", token.position, f"at most {MAX_NUMBER}")
        self.take()
        return int(significant) * suffixes[suffix]

    def key(self, expected: str) -> tuple[str, int]:
        """Take a name that may hold `/` and `-`, as in `nvidia.com/gpu`; the name and its place."""
        first = self.token
        if first.kind is Kind.QUOTED_NAME:
            return self.take().text, first.position
        if first.kind is not Kind.NAME:
            self.refuse(expected)
        name, end = self.take().text, first.end
        # Tokens are split at `/` and `-`, which are operators in an expression. Here they belong to
        # the name if nothing stands between.
        while (self.at("/") or self.at("-")) and self._joined(end):
            name += self.take().text + self.token.text
            end = self.take().end
        if name in RESERVED:
            raise RequirementError(
                f"{name!r} is a word of the language", first.position, f"{expected}, or `{name}`"
            )
        return name, first.position

    def _joined(self, end: int) -> bool:
        touching = self.token.position == end and self.after.position == self.token.end
        return touching and self.after.kind in (Kind.NAME, Kind.NUMBER)
