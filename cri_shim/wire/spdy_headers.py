"""SPDY header blocks: names and values, through one zlib stream for each direction.

A block is a count, then length-prefixed names and values, big-endian 32-bit (SPDY/3 draft, 2.6.10).
Blocks of one direction share zlib history, so every block that arrives must be inflated, also one
for a stream that nobody wants.

The limits are against a block that inflates a thousandfold; they are checked while inflating, not
after it.
"""

import zlib
from collections.abc import Iterable
from struct import Struct

from cri_shim.wire.spdy_dictionary import DICTIONARY

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case. Several values of one name are one value joined by NUL."""

MAX_BLOCK = 64 * 1024
"""Bytes of a header block after inflation; the streams served here need under 200."""
MAX_HEADERS = 256

_U32 = Struct(">I")
# Small windows: 2 KiB still holds the dictionary, and a session costs 6 KiB instead of 268.
_WINDOW_BITS = 11
_MEMORY_LEVEL = 1


class HeaderError(Exception):
    """The block cannot be read; the zlib stream is lost, and with it the session."""


class HeaderEncoder:
    """Deflates blocks of one direction.

    Stored blocks, not compressed ones: headers here are short, a secret can not leak by length, and
    the bytes are the same with every zlib.
    """

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(
            0, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_DEFAULT_STRATEGY, DICTIONARY
        )

    def encode(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        plain = pack_headers(tuple(headers))
        # SYNC_FLUSH ends the block at a byte and keeps the history for the next one.
        return self._deflate.compress(plain) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


class HeaderDecoder:
    """Inflates blocks of one direction, in order of arrival, within MAX_BLOCK."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS, DICTIONARY)

    def decode(self, block: bytes) -> Headers:
        """Raise HeaderError for bad zlib, a block beyond the limits, or one cut short."""
        try:
            # One byte more than allowed: a block of just the limit is not taken for a longer one.
            plain = self._inflate.decompress(block, MAX_BLOCK + 1)
        except zlib.error as error:
            raise HeaderError("header block is not zlib of this session") from error
        if len(plain) > MAX_BLOCK or self._inflate.unconsumed_tail:
            raise HeaderError(f"header block is longer than {MAX_BLOCK} bytes")
        if self._inflate.eof:
            raise HeaderError("header block ends the zlib stream")
        return unpack_headers(plain)


def pack_headers(headers: Headers) -> bytes:
    """The plain block of `headers`."""
    parts = [_U32.pack(len(headers))]
    for name, value in headers:
        parts += (_U32.pack(len(name)), name, _U32.pack(len(value)), value)
    return b"".join(parts)


def unpack_headers(plain: bytes) -> Headers:
    """The headers of a plain block; HeaderError if lengths do not add up or names repeat."""
    count, at = _length(plain, 0)
    if count > MAX_HEADERS:
        raise HeaderError(f"header block has {count} headers, more than {MAX_HEADERS}")
    headers: list[tuple[bytes, bytes]] = []
    for _ in range(count):
        name, at = _text(plain, at)
        value, at = _text(plain, at)
        # The spec wants lower case; Go's client lowers before it sends, others may not.
        headers.append((name.lower(), value))
    # 2.6.10: names are not empty and come once; several values of one are joined by NUL.
    names = {name for name, _ in headers}
    if at != len(plain) or len(names) != len(headers) or b"" in names:
        raise HeaderError("header block has empty or repeated names, or bytes left over")
    return tuple(headers)


def _length(plain: bytes, at: int) -> tuple[int, int]:
    if at + 4 > len(plain):
        raise HeaderError("header block is cut short")
    return _U32.unpack_from(plain, at)[0], at + 4


def _text(plain: bytes, at: int) -> tuple[bytes, int]:
    length, at = _length(plain, at)
    if at + length > len(plain):
        raise HeaderError("header block is cut short")
    return plain[at : at + length], at + length
