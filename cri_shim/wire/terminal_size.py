"""Terminal sizes on the resize stream: JSON objects one after another, cut anywhere.

kubectl sends `{"Width":80,"Height":24}` and a newline at the start and at each SIGWINCH; other
clients send no newline, so that the end of an object is its bracket.
"""

import json
import re
from dataclasses import dataclass

_MAX_PENDING = 1024
_OBJECT = re.compile(rb"\s*(\{[^{}]*\})")


class ResizeError(Exception):
    """The resize stream holds something else than sizes."""


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """In character cells, 0 to 65535 each."""

    width: int
    height: int


class SizeReader:
    """Feed it bytes of a resize stream; it keeps an incomplete object, at most 1 KiB."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes | memoryview) -> list[TerminalSize]:
        self._pending += data
        sizes: list[TerminalSize] = []
        at = 0
        while found := _OBJECT.match(self._pending, at):
            sizes.append(_size(found[1]))
            at = found.end()
        self._pending = self._pending[at:].lstrip()
        # A bound on what is kept, and an early error for what can never become an object.
        if len(self._pending) > _MAX_PENDING or self._pending[:1] not in (b"", b"{"):
            raise ResizeError(f"not a terminal size: {self._pending[:40]!r}")
        return sizes


def _size(text: bytes) -> TerminalSize:
    """Go's decoder, which clients were written against, ignores the case of keys."""
    try:
        fields = {key.lower(): value for key, value in json.loads(text).items()}
        width, height = fields["width"], fields["height"]
    except (ValueError, KeyError) as error:
        raise ResizeError(f"not a terminal size: {text[:40]!r}") from error
    # 16 bits each, as in the kernel's struct winsize. `type`, not isinstance: True is an int too.
    for value in (width, height):
        if type(value) is not int or not 0 <= value < 1 << 16:
            raise ResizeError(f"terminal size out of range: {text[:40]!r}")
    return TerminalSize(width, height)
