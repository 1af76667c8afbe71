"""Records on disk: one frame for each batch that became durable together.

A frame is length (u32), CRC-32 (u32), number of its first record (u64), all little endian, then
`length` bytes: records as canonical JSON, one a line. The checksum covers the number too, so that a
frame that is whole but in another place than it was written to is noticed.

What a bad frame means follows from the order of writing. A batch is written only after the one
before it is durable. So a bad frame with a good one after it was durable once: that is damage, and
acknowledged records are lost. A bad frame at the end is a batch that was under way when the host or
the agent stopped; nobody was told of it. (Damage to the last frame looks the same and is taken for
that: of all bits of a journal, only those of its last batch can be lost without an error.)
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias
from zlib import crc32

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Record: TypeAlias = Mapping[str, Json]

_HEADER = struct.Struct("<IIQ")
HEADER_BYTES = _HEADER.size
# ASCII and no spaces: every byte that json writes is printable, so a line break ends a record.
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_PLAIN = frozenset({str, int, bool, type(None)})
MAX_PAYLOAD = 64 << 20
"""Longest batch in bytes; a length above it is damage."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A batch as found: number of its first record, records as bytes, and where it ends."""

    first: int
    records: tuple[bytes, ...]
    end: int


def encode_record(record: Json) -> bytes:
    """Canonical JSON: equal values give equal bytes, never a line break.

    Raises TypeError for anything that would not be read back equal. The json module would write
    NaN, which is no JSON, and a key 1 as "1".
    """
    _check(record)
    return _ENCODE(record).encode("ascii")


def _check(value: Json) -> None:
    # Nearly every value ends here; the match below costs a multiple and is for what is left.
    if value.__class__ in _PLAIN:
        return
    match value:
        case None | bool() | int() | str():
            return
        case float() if isfinite(value):
            return
        case Mapping():
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise TypeError(f"journal records have text keys, not {key!r}")
                _check(inner)
        case list() | tuple():
            for inner in value:
                _check(inner)
        case _:
            raise TypeError(f"journal records hold no {type(value).__name__}: {value!r}")


def encode_frame(first: int, records: Sequence[bytes]) -> bytes:
    """A frame of at least one record."""
    payload = b"\n".join(records)
    return _HEADER.pack(len(payload), _checksum(first, payload), first) + payload


def _checksum(first: int, payload: bytes | memoryview) -> int:
    return crc32(payload, crc32(first.to_bytes(8, "little")))


def frame_at(data: bytes, offset: int) -> Frame | None:
    """The frame that starts there, None if it is incomplete or damaged."""
    if offset + HEADER_BYTES > len(data):
        return None
    length, checksum, first = _HEADER.unpack_from(data, offset)
    start = offset + HEADER_BYTES
    end = start + length
    # A frame of zeros is none: that is what a file system fills unwritten blocks with.
    if not 0 < length <= MAX_PAYLOAD or end > len(data):
        return None
    payload = data[start:end]
    if _checksum(first, payload) != checksum:
        return None
    return Frame(first, tuple(payload.split(b"\n")), end)


def frames(data: bytes, offset: int) -> Iterator[Frame]:
    """The good frames from `offset` up to the first that is not."""
    while (frame := frame_at(data, offset)) is not None:
        yield frame
        offset = frame.end


def good_frame_after(data: bytes, offset: int, expected: int) -> int | None:
    """Where, after a damaged frame, a good one of a later record starts; None if nowhere.

    `expected` is the number that the damaged frame should have had. The damaged length says nothing
    about where the next frame starts, so every byte is tried; a checksum is computed only where
    length and number could be right, else this would take a minute for a segment.
    """
    # Each record takes a byte at least, which bounds how far numbers can have come.
    latest = expected + len(data)
    for start in range(offset + 1, len(data) - HEADER_BYTES):
        length, _, first = _HEADER.unpack_from(data, start)
        plausible = 0 < length <= len(data) - start - HEADER_BYTES
        if plausible and expected < first <= latest and frame_at(data, start) is not None:
            return start
    return None
