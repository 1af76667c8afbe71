"""The files of a journal: segments of frames, snapshots, the lock; their names and their order.

`segment-<first record>` starts with a header: a magic and that number again, so that a file that
was renamed or mixed up is refused. `snapshot-<record>` is one frame with the state after that
record. Numbers have 20 digits, so that names sort as they do.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.linux.files import atomic_write
from nodeagent.ledger.journal.errors import JournalError

# The 1 is the version of the format of segments and frames; what is in records has its own.
_MAGIC = b"BERTHJ1\n"
_START = struct.Struct("<8sQ")
START_BYTES = _START.size
_SEGMENT, _SNAPSHOT, _DIGITS = "segment-", "snapshot-", 20


def segment_path(directory: Path, first: int) -> Path:
    """The segment whose first record has this number."""
    return directory / f"{_SEGMENT}{first:0{_DIGITS}}"


def snapshot_path(directory: Path, number: int) -> Path:
    """The state after the record of this number."""
    return directory / f"{_SNAPSHOT}{number:0{_DIGITS}}"


def first_record(segment: Path) -> int:
    """The number in a segment's name."""
    return int(segment.name.removeprefix(_SEGMENT))


def segments(directory: Path) -> list[tuple[int, Path]]:
    """Numbers of first records and files, oldest first."""
    return _numbered(directory, _SEGMENT)


def snapshots(directory: Path) -> list[tuple[int, Path]]:
    """Numbers of last records and files, oldest first."""
    return _numbered(directory, _SNAPSHOT)


def _numbered(directory: Path, prefix: str) -> list[tuple[int, Path]]:
    found = []
    for path in directory.iterdir():
        digits = path.name.removeprefix(prefix)
        if path.name.startswith(prefix) and len(digits) == _DIGITS and digits.isdecimal():
            found.append((int(digits), path))
    return sorted(found)


def remove_drafts(directory: Path) -> None:
    """Remove what `atomic_write` of a segment or a snapshot left behind when it was killed."""
    for path in directory.glob(".s*"):
        path.unlink()


def set_aside(path: Path) -> None:
    """Keep a damaged file for people to look at, out of the journal's way."""
    path.rename(path.with_name(f"damaged-{path.name}"))


def create_segment(directory: Path, first: int) -> Path:
    """An empty segment, durable with its name before anything is written to it.

    fdatasync of records brings no name of a file to the disk; the directory is synchronised here.
    """
    path = segment_path(directory, first)
    atomic_write(path, _START.pack(_MAGIC, first))
    return path


def has_header(data: bytes, first: int) -> bool:
    """Whether a segment's content begins with the header of that number."""
    return data[:START_BYTES] == _START.pack(_MAGIC, first)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock the directory; JournalError if another process has it.

    flock(2) belongs to the open file, so the kernel drops it with the process, however that ends.
    The file stays: to remove it would let a third process lock a new one beside the second's.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _flock(directory, fd)
        # For the message of the next one who tries; the lock itself is flock's.
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def _flock(directory: Path, fd: int) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as cause:
        owner = os.pread(fd, 20, 0).decode("ascii", "replace") or "unknown"
        raise JournalError(
            f"{directory}: the journal is in use by process {owner}; stop that one first"
        ) from cause
