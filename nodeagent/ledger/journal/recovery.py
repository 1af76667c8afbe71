"""What a journal directory holds at start: the last good snapshot and the records after it.

    newest good snapshot S ─► the segment with record S + 1 ─► every segment after it
        │ none is good: the segments from record 1 on, if they are all still there
        └ older snapshots: passed over unless the newer ones are damaged

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
    has_header,
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


def recover(directory: Path) -> Recovered:
    """Read the directory and cut a torn tail; raise JournalCorrupt if durable bytes are damaged."""
    number, state, skipped = _last_good_snapshot(directory)
    files = _needed(directory, number)
    records: list[bytes] = []
    torn = None
    expected = files[0][0] if files else 1
    for index, (first, path) in enumerate(files):
        if first != expected:
            raise JournalCorrupt(path, 0, f"record {expected} is missing before this segment")
        found, torn = _read_segment(path, first, last=index == len(files) - 1)
        records += found
        expected += len(found)
    return _result(directory, files, (number, state, skipped), records, torn)


def _result(
    directory: Path,
    files: list[tuple[int, Path]],
    snapshot: tuple[int, Json, tuple[Path, ...]],
    records: list[bytes],
    torn: TornTail | None,
) -> Recovered:
    number, state, skipped = snapshot
    before = number + 1 - files[0][0] if files else 0
    if before > len(records):
        raise JournalCorrupt(files[-1][1], 0, f"the log ends before snapshot {number}")
    # Only now, when nothing can be refused any more, is anything changed.
    if torn is not None:
        _cut_off(torn)
    for path in skipped:
        set_aside(path)
    decoded = tuple(json.loads(record) for record in records[before:])
    return Recovered(state, number, decoded, number + len(decoded), torn, skipped)


def _last_good_snapshot(directory: Path) -> tuple[int, Json, tuple[Path, ...]]:
    skipped: list[Path] = []
    found = snapshots(directory)
    for number, path in reversed(found):
        data = path.read_bytes()
        frame = frame_at(data, 0)
        if frame is not None and frame.first == number and frame.end == len(data):
            return number, json.loads(frame.records[0]), tuple(skipped)
        skipped.append(path)
    if found:
        # Without any snapshot the log alone must say it all, from its first record on.
        first = segments(directory)[:1]
        if not first or first[0][0] != 1:
            raise JournalCorrupt(found[-1][1], 0, "no snapshot is readable; damage")
    return 0, None, tuple(skipped)


def _needed(directory: Path, snapshot: int) -> list[tuple[int, Path]]:
    """The segments from the one with the snapshot's next record on."""
    files = segments(directory)
    covering = [index for index, (first, _) in enumerate(files) if first <= snapshot + 1]
    if not covering:
        if files or snapshot:
            raise JournalCorrupt(
                files[0][1] if files else directory,
                0,
                f"the segment of record {snapshot + 1} is gone",
            )
        return []
    return files[covering[-1] :]


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
        torn.file.unlink()
        return
    fd = os.open(torn.file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(fd, torn.offset)
        # Durable before anything is appended: a size that comes back after a power cut would put
        # the torn bytes before a good frame, and the next start would call that damage.
        os.fsync(fd)
    finally:
        os.close(fd)
