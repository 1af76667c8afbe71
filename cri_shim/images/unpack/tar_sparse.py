"""Maps of sparse files in tar archives (GNU tar manual, "Storing Sparse Files").

    old GNU   type `S`: 4 regions in the header, 21 in each block that follows, real size at 483
    PAX 0.0   records GNU.sparse.offset and .numbytes by turns, once for each region
    PAX 0.1   one record GNU.sparse.map: offset,length,offset,length,…
    PAX 1.0   the map lies before the data and counts as data; name and size are records

All of them store only the regions, one after the other. docker and buildkit write none of them,
but `tar --sparse` does, and layers are made with that.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from cri_shim.images.errors import BadImage

Region = tuple[int, int]
"""Offset and length in the file of a run of stored bytes."""
# A map is held in memory; a file of a terabyte with a region for each megabyte has so many.
MAX_REGIONS = 1 << 20
_BLOCK = 512


class _Source(Protocol):
    def take(self, count: int) -> bytes: ...


def read_gnu_regions(
    stream: _Source, block: bytes, number: Callable[[bytes], int]
) -> tuple[Region, ...]:
    """Old GNU format: 4 regions in the header, 21 in each block that follows it."""
    raw = block[386:482]
    extended = block[482]
    while extended:
        more = stream.take(_BLOCK)
        raw += more[:504]
        extended = more[504]
        if len(raw) > MAX_REGIONS * 24:
            raise BadImage("a sparse map of the tar archive is too long")
    pairs = [(raw[at : at + 12], raw[at + 12 : at + 24]) for at in range(0, len(raw), 24)]
    return tuple((number(offset), number(length)) for offset, length in pairs if offset[0])


def pax_regions(stream: _Source, pax: Mapping[str, bytes], stored: int) -> tuple[Region, ...]:
    """PAX formats: 1.0 keeps the map before the data, 0.0 and 0.1 in the header."""
    if pax.get("GNU.sparse.major") == b"1":
        return _data_map(stream, stored)
    return _pairs(pax.get("GNU.sparse.map", b"").split(b","))


def _pairs(texts: list[bytes]) -> tuple[Region, ...]:
    try:
        numbers = [int(text) for text in texts if text]
    except ValueError:
        raise BadImage("a sparse map of the tar archive is no list of numbers") from None
    if len(numbers) % 2:
        raise BadImage("a sparse map of the tar archive has an odd number of values")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _data_map(stream: _Source, stored: int) -> tuple[Region, ...]:
    """Decimal numbers, one a line: the count, then offsets and lengths; padded to a block."""
    data = b""
    wanted = 1
    # Nothing tells how long the map is but its first line, and that may lie.
    while data.count(b"\n") < wanted:
        if len(data) + _BLOCK > stored or len(data) > MAX_REGIONS * 24:
            raise BadImage("a sparse map of the tar archive does not end")
        data += stream.take(_BLOCK)
        count, newline, _ = data.partition(b"\n")
        if newline:
            wanted = 1 + 2 * _pairs([count, b"0"])[0][0]
    return _pairs(data.split(b"\n")[1:wanted])
