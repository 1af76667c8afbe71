"""Tar archives as they are in layers: ustar, PAX, GNU long names, GNU and PAX sparse files.

A reader of headers only: what an entry does to a disk is in `extract`. Names are text with
surrogates for bytes that are not UTF-8, as the os module takes them.

A header is one block of 512 bytes (POSIX pax, "ustar Interchange Format"):

      0 name[100]   100 mode[8]   108 uid[8]   116 gid[8]   124 size[12]   136 mtime[12]
    148 checksum[8]   156 type[1]   157 linkname[100]   257 magic[6]   263 version[2]
    265 uname[32]   297 gname[32]   329 major[8]   337 minor[8]   345 prefix[155]

GNU's own format has another magic and its own fields from 345 on: times, and the regions of a
sparse file at 386. What does not fit into a header comes before it in an entry of type `x` (PAX
records), or `L` and `K` (GNU: a long name, a long link).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.tar_sparse import Region, pax_regions, read_gnu_regions

BLOCK = 512
MAX_EXTENSION = 1 << 20
"""A PAX header or a long name may have this many bytes."""
_ZEROS = bytes(BLOCK)


class ByteStream(Protocol):
    """What headers are read from."""

    @property
    def position(self) -> int: ...

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes; BadImage at an earlier end."""

    def take_block(self) -> bytes:
        """512 bytes, or nothing at the end."""

    def skip(self, count: int) -> None: ...


class Kind(Enum):
    FILE = "0"
    HARD_LINK = "1"
    SYMLINK = "2"
    CHARACTER = "3"
    BLOCK = "4"
    DIRECTORY = "5"
    FIFO = "6"


_KINDS = {kind.value.encode(): kind for kind in Kind} | {
    # A NUL is what tar wrote in 1979, `7` a contiguous file (as any other today), `S` GNU's sparse.
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
}


@dataclass(slots=True)
class Entry:
    """One member. `stored` bytes of data follow in the stream; `size` is the file's own size."""

    name: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    stored: int
    mtime: int
    """Nanoseconds since 1970."""
    link: str
    major: int
    minor: int
    xattrs: dict[str, bytes] = field(default_factory=dict)
    regions: tuple[Region, ...] | None = None
    """Where the stored bytes lie in a sparse file, else None."""


def read_entries(stream: ByteStream) -> Iterator[Entry]:
    """All members; the consumer may read the data, what it leaves is skipped."""
    shared: dict[str, bytes] = {}
    local: dict[str, bytes] = {}
    while True:
        block = stream.take_block()
        # Two blocks of zeros end an archive. Many have one, or none: the first one is enough. What
        # comes after it is padding, which the layer's digest covers all the same.
        if not block or block == _ZEROS:
            return
        kind = block[156:157]
        if kind in (b"x", b"g", b"L", b"K"):
            _extension(stream, block, kind, shared, local)
            continue
        entry = _entry(stream, block, {**shared, **local} if shared else local)
        local = {}
        # `stored` is the size by PAX where there is one. A reader that skips by the header's own
        # field, which is then often 0, takes the file's content for the next headers, and a scanner
        # and a runtime see different files (CVE-2025-62518).
        end = stream.position + entry.stored
        padding = -entry.stored % BLOCK
        yield entry
        stream.skip(end + padding - stream.position)


def _extension(
    stream: ByteStream,
    block: bytes,
    kind: bytes,
    shared: dict[str, bytes],
    local: dict[str, bytes],
) -> None:
    """A header that only tells about the next one (`g`: about all that follow)."""
    _check_sum(block)
    size = _number(block[124:136])
    # It is read into memory as a whole, before anything of it is checked.
    if not 0 <= size <= MAX_EXTENSION:
        raise BadImage(f"a tar header extension has {size} bytes, more than {MAX_EXTENSION}")
    data = stream.take(size)
    stream.skip(-size % BLOCK)
    match kind:
        case b"x":
            local |= parse_pax(data)
        case b"g":
            shared |= parse_pax(data)
        case b"L":
            local["path"] = data.rstrip(b"\0")
        case _:
            local["linkpath"] = data.rstrip(b"\0")


def parse_pax(data: bytes) -> dict[str, bytes]:
    """Records `<length> <key>=<value>\\n` (POSIX pax, "Extended Header")."""
    records: dict[str, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    # By length, not by line: a value may have newlines and NULs in it (an extended attribute has).
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > 0 else b""
        if not length.isdigit() or not space < at + int(length) <= len(data):
            raise BadImage("a PAX header of the tar archive is malformed")
        key, found, value = data[space + 1 : at + int(length) - 1].partition(b"=")
        if not found:
            raise BadImage("a PAX record of the tar archive has no '='")
        at += int(length)
        # The one case in which a key comes several times and each one counts (PAX sparse 0.0).
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value)
        else:
            records[_text(key)] = value
    if sparse:
        records["GNU.sparse.map"] = b",".join(sparse)
    return records


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _field(raw: bytes) -> bytes:
    end = raw.find(b"\0")
    return raw if end < 0 else raw[:end]


def _number(raw: bytes) -> int:
    """Octal digits, or base 256 where the first bit is set (GNU).

    Eleven octal digits end at 8 GiB, and they have no sign: files before 1970 are written so, too.
    """
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ((1 << (len(raw) * 8 - 1)) - 1)
        return value - (1 << (len(raw) * 8 - 1)) if raw[0] == 0xFF else value
    digits = raw.split(b"\0", 1)[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise BadImage(f"a number in a tar header is malformed: {raw!r}") from None


def _check_sum(block: bytes) -> None:
    stored = _number(block[148:156])
    total = sum(block) - sum(block[148:156]) + 8 * 32
    if stored != total:
        # Some old tars summed the bytes up as signed ones; GNU tar and libarchive take either.
        signed = total - 256 * sum(byte > 127 for byte in block[:148] + block[156:])
        if stored != signed:
            raise BadImage("a tar header's checksum is wrong: the archive is damaged or no tar")


def _pax_int(pax: dict[str, bytes], key: str, default: int) -> int:
    raw = pax.get(key)
    if raw is None:
        return default
    try:
        return int(raw)
    except ValueError:
        raise BadImage(f"PAX record {key} is no number: {raw[:40]!r}") from None


def _pax_time(pax: dict[str, bytes], default: int) -> int:
    """`seconds[.fraction]` in nanoseconds, exactly."""
    raw = pax.get("mtime")
    if raw is None:
        return default * 1_000_000_000
    # No float: 53 bits do not hold nanoseconds since 1970, and the layer would differ by some.
    whole, _, fraction = raw.partition(b".")
    try:
        nanoseconds = int((fraction + b"000000000")[:9])
        seconds = int(whole) * 1_000_000_000
    except ValueError:
        raise BadImage(f"PAX record mtime is no number: {raw[:40]!r}") from None
    return seconds - nanoseconds if whole.startswith(b"-") else seconds + nanoseconds


_XATTR = "SCHILY.xattr."


def _entry(stream: ByteStream, block: bytes, pax: dict[str, bytes]) -> Entry:
    _check_sum(block)
    type_flag = block[156:157]
    kind = _KINDS.get(type_flag)
    name = pax.get("path") or _header_name(block)
    if kind is None:
        raise BadImage(f"tar entry {_text(name)!r} has unknown type {type_flag!r}")
    # Before there was a type for directories, a slash at the end of the name was it.
    if kind is Kind.FILE and name.endswith(b"/") and type_flag in (b"\0", b"0"):
        kind = Kind.DIRECTORY
    stored = _pax_int(pax, "size", _number(block[124:136]))
    if stored < 0:
        raise BadImage(f"tar entry {_text(name)!r} has a negative size")
    # A size without data: some tars write the length of a link's target there. But POSIX lets a
    # hard link carry the file's data, which then has to be skipped.
    if kind is not Kind.FILE:
        stored = 0 if kind is not Kind.HARD_LINK else stored
    entry = Entry(
        name=_text(name),
        kind=kind,
        mode=_number(block[100:108]) & 0o7777,
        uid=_pax_int(pax, "uid", _number(block[108:116])),
        gid=_pax_int(pax, "gid", _number(block[116:124])),
        size=stored,
        stored=stored,
        mtime=_pax_time(pax, _number(block[136:148])),
        link=_text(pax.get("linkpath") or _field(block[157:257])),
        major=_number(block[329:337]) if block[257:262] == b"ustar" else 0,
        minor=_number(block[337:345]) if block[257:262] == b"ustar" else 0,
    )
    if pax:
        entry.xattrs = {k[len(_XATTR) :]: v for k, v in pax.items() if k.startswith(_XATTR)}
    _read_sparse(stream, block, type_flag, pax, entry)
    return entry


def _header_name(block: bytes) -> bytes:
    # Only with POSIX's magic (`ustar` and a NUL): GNU's (`ustar` and a blank) has times there.
    name = _field(block[:100])
    prefix = _field(block[345:500]) if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _read_sparse(
    stream: ByteStream, block: bytes, type_flag: bytes, pax: dict[str, bytes], entry: Entry
) -> None:
    """Find where a sparse file's bytes lie: old GNU headers, or PAX 0.0, 0.1 and 1.0."""
    if type_flag == b"S":
        entry.regions = read_gnu_regions(stream, block, _number)
        entry.size = _number(block[483:495])
    elif any(key.startswith("GNU.sparse.") for key in pax):
        before = stream.position
        entry.regions = pax_regions(stream, pax, entry.stored)
        entry.stored -= stream.position - before
        default = _pax_int(pax, "GNU.sparse.size", entry.size)
        entry.size = _pax_int(pax, "GNU.sparse.realsize", default)
        entry.name = _text(pax["GNU.sparse.name"]) if "GNU.sparse.name" in pax else entry.name
    if entry.regions is not None:
        _check_regions(entry)


def _check_regions(entry: Entry) -> None:
    # In order, apart and inside of the file: one that overlaps or lies beyond the end would make
    # another file than the header says, and two readers would see two files.
    at = total = 0
    for offset, length in entry.regions or ():
        if offset < at or length < 0 or offset + length > entry.size:
            raise BadImage(f"the sparse map of tar entry {entry.name!r} is malformed")
        at = offset + length
        total += length
    if total != entry.stored:
        raise BadImage(f"the sparse map of tar entry {entry.name!r} does not fit its data")
