"""Writing a journal: frames to the segment in use, snapshots, removal of what they replace.

Blocking, for one thread: see `journal` for who calls it. After an OSError nothing more may be
written: the file may end in half a frame, and Linux reports a failed write-back once and then
calls the pages clean, so that a second fsync succeeds without the data being on the disk.
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from berth.linux.files import atomic_write, sync_directory, write_all
from nodeagent.ledger.journal.frames import encode_frame
from nodeagent.ledger.journal.segments import (
    create_segment,
    segment_path,
    segments,
    snapshot_path,
    snapshots,
)

KEPT_SNAPSHOTS = 2
"""The last one and, should it be damaged, the one before, each with the records after it."""


class Writer:
    """Appends behind record `last`."""

    def __init__(self, directory: Path, last: int, segment_bytes: int) -> None:
        self._directory = directory
        self._last = last
        self._segment_bytes = segment_bytes
        self._fd = self._open_last()

    def _open_last(self) -> int:
        existing = segments(self._directory)
        # Recovery has cut it off after its last good frame.
        path = existing[-1][1] if existing else create_segment(self._directory, self._last + 1)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def write(self, records: Sequence[bytes]) -> None:
        """Make a batch durable."""
        write_all(self._fd, encode_frame(self._last + 1, records))
        # fdatasync brings the file's new size to the disk too, without which data could not be
        # read back; what it leaves out are times.
        os.fdatasync(self._fd)
        self._last += len(records)
        if os.fstat(self._fd).st_size >= self._segment_bytes:
            self._rotate()

    def snapshot(self, state: bytes) -> None:
        """Keep the state after the last record, then remove what it replaces.

        In this order, each step durable before the next; after kill -9 between two of them the
        next start finds

        - a new segment, empty: the old ones and the snapshots before it still say everything;
        - the snapshot too: it counts, and its next record has a segment to be found in;
        - some old files gone: segments go by number from the oldest, those that are left are not
          needed by any snapshot that is kept.
        """
        if not segment_path(self._directory, self._last + 1).exists():
            self._rotate()
        path = snapshot_path(self._directory, self._last)
        atomic_write(path, encode_frame(self._last, [state]))
        self._remove_old()

    def _rotate(self) -> None:
        # The new one first: if it cannot be made, the old one is still open and `close` finds it.
        path = create_segment(self._directory, self._last + 1)
        os.close(self._fd)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def _remove_old(self) -> None:
        """Remove what comes before the oldest snapshot that is kept.

        That is the one before the last, so only segments go of which both snapshots know all.
        """
        kept = snapshots(self._directory)[-KEPT_SNAPSHOTS:]
        oldest = kept[0][0] if len(kept) == KEPT_SNAPSHOTS else 0
        gone = [path for number, path in snapshots(self._directory) if number < oldest]
        files = segments(self._directory)
        followed = pairwise(files)
        # A segment ends where the following one begins; the last one is in use and stays.
        gone += [path for (_, path), (following, _) in followed if following <= oldest + 1]
        for path in gone:
            path.unlink()
        if gone:
            sync_directory(self._directory)

    def close(self) -> None:
        """Close the segment in use."""
        os.close(self._fd)
