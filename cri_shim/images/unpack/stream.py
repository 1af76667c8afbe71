"""A layer's bytes on their way from the blob to the disk: decompressed, counted, hashed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from cri_shim.images.errors import BadImage

CHUNK = 1 << 18
"""Compressed bytes read at once."""
PIECE = 1 << 20
"""Uncompressed bytes produced at once at most: bounds memory whatever the ratio."""
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# What tools can write and no media type of image-spec allows. To name it is kinder than "no tar".
_FOREIGN = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4"}
# A zstd frame says itself how much memory its decoder shall have. 128 MiB is what `zstd -d` gives
# without a question, and what --ultra and --long=27 need.
_MAX_WINDOW = 1 << 27


@dataclass(frozen=True, slots=True)
class Limits:
    """What one layer may unpack to. The ratio counts only beyond `ratio_from` bytes.

    Against bombs that fill the disk of the node, and with it every pod's. deflate cannot do better
    than 1032:1 and zstd far better, while honest layers of preallocated files come near that: so
    the ratio alone is no crime before it costs something. `entries` is for inodes, which run out
    before the bytes do.
    """

    size: int = 128 << 30
    ratio: int = 1000
    ratio_from: int = 4 << 30
    entries: int = 4_000_000


def compression(start: bytes) -> str:
    """`gzip`, `zstd` or `` (plain), by a blob's first bytes; BadImage for others known."""
    if start.startswith(_GZIP):
        return "gzip"
    # By content, never by media type: registries and tools mix these up, and docker does the same.
    # The second test is for skippable frames, which zstd:chunked may begin with (RFC 8878, 3.1.2).
    if start.startswith(_ZSTD) or (start[1:4] == b"\x2a\x4d\x18" and 0x50 <= start[0] <= 0x5F):
        return "zstd"
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            raise BadImage(f"the layer is compressed by {name}: use gzip, zstd or none")
    return ""


def decompressed(file: BinaryIO) -> Iterator[bytes]:
    """The uncompressed bytes of a blob in pieces of at most PIECE bytes."""
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    match compression(start):
        case "gzip":
            return _gzip(file)
        case "zstd":
            return _zstd(file)
        case _:
            return iter(lambda: file.read(PIECE), b"")


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    """One or more gzip members (estargz has one a file), zero padding after the last."""
    from isal import isal_zlib

    # isal is two to three times as fast as zlib, and a layer is unpacked by one core.
    damage = cast(type[Exception], isal_zlib.error)  # the stubs call the class an instance
    data = file.read(CHUNK)
    try:
        while data:
            member = isal_zlib.decompressobj(wbits=31)
            while not member.eof:
                if not data and not (data := file.read(CHUNK)):
                    raise BadImage("the gzip data ends too early: the blob is truncated")
                if piece := member.decompress(data, PIECE):
                    yield piece
                data = member.unconsumed_tail
            # gzip(1) ignores zeros after a member, for tapes have blocks. Some builders still pad.
            data = (member.unused_data or file.read(CHUNK)).lstrip(b"\0")
    except damage as error:
        raise BadImage(f"the gzip data is damaged: {error}") from None


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    """One or more frames, skippable ones among them (zstd:chunked has such).

    A truncated frame just ends here; the tar's end and the diff id tell.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader = decompressor.stream_reader(file, read_size=CHUNK, read_across_frames=True)
    try:
        while piece := reader.read(PIECE):
            yield piece
    except zstandard.ZstdError as error:
        raise BadImage(f"the zstd data is damaged: {error}") from None


class LayerStream:
    """Hands out exact amounts of the uncompressed bytes; hashes and limits what passes."""

    def __init__(self, file: BinaryIO, algorithm: str, limits: Limits) -> None:
        self._file = file
        self._pieces = decompressed(file)
        self._hash = hashlib.new(algorithm)
        self._limits = limits
        self._piece = memoryview(b"")
        self._at = 0
        self._produced = 0
        self.position = 0

    def _next(self) -> bool:
        """Bring the next piece; False at the end."""
        piece = next(self._pieces, b"")
        if not piece:
            return False
        self._hash.update(piece)
        self._produced += len(piece)
        # After each piece, so that a bomb is over the limit by a megabyte when it is found out.
        self._check_limits()
        self._piece = memoryview(piece)
        self._at = 0
        return True

    def _check_limits(self) -> None:
        limits = self._limits
        if self._produced > limits.size:
            raise BadImage(f"the layer unpacks to more than {limits.size} bytes: refused as a bomb")
        if self._produced > limits.ratio_from:
            read = max(self._file.tell(), 1)
            if self._produced > read * limits.ratio:
                raise BadImage(
                    f"the layer unpacks to more than {limits.ratio} times its size: "
                    "refused as a bomb"
                )

    def read_some(self, count: int) -> memoryview:
        """1 to `count` bytes without copying, none at the end."""
        if self._at == len(self._piece) and not self._next():
            return self._piece[:0]
        part = self._piece[self._at : self._at + count]
        self._at += len(part)
        self.position += len(part)
        return part

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes; BadImage where the stream ends before."""
        data = bytes(self.read_some(count)) if count else b""
        while len(data) < count:
            more = self.read_some(count - len(data))
            if not more:
                raise BadImage("the tar archive ends in the middle of an entry: it is truncated")
            data += more
        return data

    def take_block(self) -> bytes:
        """512 bytes, or none at the end of the stream."""
        at = self._at
        if at + 512 <= len(self._piece):
            self._at = at + 512
            self.position += 512
            return bytes(self._piece[at : at + 512])
        first = self.read_some(512)
        return bytes(first) + self.take(512 - len(first)) if first else b""

    def parts(self, count: int) -> Iterator[memoryview]:
        """`count` bytes in parts without copying; BadImage where the stream ends before."""
        while count:
            part = self.read_some(count)
            if not part:
                raise BadImage("the tar archive ends in the middle of a file: it is truncated")
            count -= len(part)
            yield part

    def skip(self, count: int) -> None:
        for _ in self.parts(count):
            pass

    def finish(self) -> str:
        """Read to the end (tar archives are padded) and give the digest of everything."""
        # The digest is of the whole stream: what comes after the end of the archive counts too.
        while self._next():
            pass
        return f"{self._hash.name}:{self._hash.hexdigest()}"
