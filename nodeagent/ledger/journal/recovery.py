"""What a journal directory holds at start: the last good snapshot and the records after it.

    newest snapshot that is good, after record S ─► segment S + 1 ─► every segment after it
    no snapshot is good                          ─► segment 1, if it is still there ─► …

A torn tail (a batch that never became durable, see `frames`) is cut off and reported: the next
batch is appended there, and would otherwise follow a bad frame. Damage to anything that was durable
is refused: nothing is changed and the error says where. To go on with what is left would forget
grants of pods that run, and give their units to others.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from nodeagent.ledger.journal.errors import JournalCorrupt
from nodeagent.ledger.journal.frames import Json, Record, frame_at, frames, good_frame_after
from nodeagent.ledger.journal.segments import (
    START_BYTES,
    create_segment,
    first_record,
    has_header,
    segment_path,
    segments,
    set_aside,
    snapshots,
)


@dataclass(frozen=True, slots=True)
class TornTail:
    """What was cut off at the end: it began at `offset` of `file` and had `lost` bytes."""

    file: Path
    offset: int
    lost: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """Everything durable: `state` after record `snapshot` (0: none), and the records after it.

    `last` is the number of the last record, 0 if there never was one. `skipped` are snapshots that
    were damaged, passed over for an older one, and set aside.
    """

    state: Json
    snapshot: int
    records: tuple[Record, ...]
    last: int
    torn: TornTail | None = None
    skipped: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class _Start:
    """The snapshot to begin with, 0 and no state without one, and the damaged ones after it."""

    number: int
    state: Json
    skipped: tuple[Path, ...]


def recover(directory: Path) -> Recovered:
    """Read the directory and cut a torn tail; raise JournalCorrupt if durable bytes are damaged."""
    start = _last_good_snapshot(directory)
    records: list[bytes] = []
    torn = None
    files = _segments_after(directory, start.number)
    for path in files:
        # Names have the numbers of first records and numbers have no gaps, so a segment that
        # somebody removed, or restored from an older copy, is noticed by its neighbours.
        first = start.number + len(records) + 1
        if path != segment_path(directory, first):
            raise JournalCorrupt(path, 0, f"record {first} is missing before this segment")
        found, torn = _read_segment(path, first, last=path == files[-1])
        records += found
    # Only now, when nothing can be refused any more, is anything changed.
    if torn is not None:
        _cut_off(torn)
    for path in start.skipped:
        set_aside(path)
    decoded = tuple(json.loads(record) for record in records)
    last = start.number + len(decoded)
    return Recovered(start.state, start.number, decoded, last, torn, start.skipped)


def _last_good_snapshot(directory: Path) -> _Start:
    skipped: list[Path] = []
    found = snapshots(directory)
    for number, path in reversed(found):
        data = path.read_bytes()
        frame = frame_at(data, 0)
        # A snapshot got its name after its content was durable: a short one is damage, no tail.
        if frame is not None and frame.first == number and frame.end == len(data):
            return _Start(number, json.loads(frame.records[0]), tuple(skipped))
        skipped.append(path)
    # Without any snapshot the log alone must say it all, from its first record on.
    if found and not segment_path(directory, 1).exists():
        raise JournalCorrupt(found[-1][1], 0, "no snapshot is readable; damage")
    return _Start(0, None, tuple(skipped))


def _segments_after(directory: Path, snapshot: int) -> list[Path]:
    """The segments from the one that begins with the snapshot's next record.

    There is one: the writer makes it before the snapshot. If it is missing, records may be too.
    """
    files = [path for first, path in segments(directory) if first > snapshot]
    begin = segment_path(directory, snapshot + 1)
    if begin not in files and (files or snapshot):
        raise JournalCorrupt(begin, 0, "this segment is gone")
    return files


def _read_segment(path: Path, first: int, last: bool) -> tuple[list[bytes], TornTail | None]:
    data = path.read_bytes()
    if last and len(data) < START_BYTES:
        # Its header was never whole, so nothing can have been written after it.
        return [], TornTail(path, 0, len(data))
    if not has_header(data, first):
        raise JournalCorrupt(path, 0, "this is no segment of that number; damage")
    records: list[bytes] = []
    end = START_BYTES
    for frame in frames(data, end):
        if frame.first != first + len(records):
            raise JournalCorrupt(path, end, f"record {first + len(records)} is missing")
        records += frame.records
        end = frame.end
    if end == len(data):
        return records, None
    _refuse_damage(path, data, end, first + len(records), last)
    return records, TornTail(path, end, len(data) - end)


def _refuse_damage(path: Path, data: bytes, end: int, expected: int, last: bool) -> None:
    if not last:
        raise JournalCorrupt(path, end, f"record {expected} is damaged")
    after = good_frame_after(data, end, expected)
    if after is not None:
        raise JournalCorrupt(
            path, end, f"record {expected} is damaged (good ones follow at byte {after})"
        )


def _cut_off(torn: TornTail) -> None:
    if torn.offset == 0:
        # Not removed: a segment that is missing is taken for damage.
        create_segment(torn.file.parent, first_record(torn.file))
        return
    fd = os.open(torn.file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, torn.offset)
        # Durable before anything is appended: a size that comes back after a power cut would put
        # the torn bytes before a good frame, and the next start would call that damage.
        os.fsync(fd)
    finally:
        os.close(fd)
