"""The agent's journal against SQLite with the same guarantees: is a format of our own worth it?

Both write the same records in one thread; a batch is on the disk when `write` returns. SQLite runs
as its documentation recommends for that: WAL, synchronous FULL, one transaction a batch. It has a
checksum in every row, because the pages of a database have none.
"""

import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol
from zlib import crc32

from bench.result import Result, ratio, value
from nodeagent.ledger.journal.errors import JournalError
from nodeagent.ledger.journal.frames import encode_record
from nodeagent.ledger.journal.recovery import recover
from nodeagent.ledger.journal.segments import segments
from nodeagent.ledger.journal.writer import Writer

ROUNDS = 5
ALONE, TOGETHER, BATCHES = 500, 64, 50
RECOVERED = 5_000
FLIPS = 200
WRITTEN = 150
"""Records in the file whose bits are flipped."""

_POD = {"uid": "6f1c3b52-11aa-4e0f-a5de-0123456789ab", "namespace": "training", "name": "worker-17"}
_ROW = {
    "op": {"op": "request", "id": _POD["uid"], "consumer": "c1-2-3", "namespace": "training",
           "vector": {"cpu": 2000, "memory": 4 << 30, "nvidia.com/gpu": 2}, "retry": True},
    "now": 1_700_000_000_000, "seq": 12345, "fallbacks": [], "notes": {"pod": _POD},
}  # fmt: skip
RECORDS = [encode_record({**_ROW, "seq": number}) for number in range(TOGETHER)]
STATE = encode_record({"allocations": [_ROW] * 500})


class Store(Protocol):
    """Where batches become durable."""

    def write(self, records: Sequence[bytes]) -> None: ...

    def snapshot(self, state: bytes) -> None: ...

    def close(self) -> None: ...


class SqliteStore:
    """Records and the last two snapshots as rows with checksums."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._db = sqlite3.connect(directory / "journal.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        for table in ("records", "snapshots"):
            columns = "(number INTEGER PRIMARY KEY, checksum INTEGER, data BLOB)"
            self._db.execute(f"CREATE TABLE {table} {columns}")
        self._last = 0

    def write(self, records: Sequence[bytes]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        rows = [self._row(number, data) for number, data in enumerate(records, self._last + 1)]
        self._db.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")
        self._last += len(records)

    def snapshot(self, state: bytes) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        row = self._row(self._last, state)
        self._db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", row)
        kept = self._db.execute("SELECT number FROM snapshots ORDER BY number DESC LIMIT 2")
        oldest = kept.fetchall()[-1][0]
        self._db.execute("DELETE FROM snapshots WHERE number < ?", (oldest,))
        self._db.execute("DELETE FROM records WHERE number <= ?", (oldest,))
        self._db.execute("COMMIT")

    @staticmethod
    def _row(number: int, data: bytes) -> tuple[int, int, bytes]:
        return number, crc32(data, number), data

    def close(self) -> None:
        self._db.close()


def sqlite_recover(directory: Path) -> int:
    """Read all back as `recover` does; how many records there are. ValueError for damage."""
    db = sqlite3.connect(directory / "journal.db")
    try:
        last = 0
        if state := db.execute("SELECT * FROM snapshots ORDER BY number DESC LIMIT 1").fetchone():
            last, _ = state[0], _decoded(*state)
        records = []
        for row in db.execute("SELECT * FROM records WHERE number > ? ORDER BY number", (last,)):
            if row[0] != last + len(records) + 1:
                raise ValueError("a record is missing")
            records.append(_decoded(*row))
        return len(records)
    finally:
        db.close()


def _decoded(number: int, checksum: int, data: bytes) -> Any:
    if not isinstance(data, bytes) or crc32(data, number) != checksum:
        raise ValueError(f"record {number} is damaged")
    return json.loads(data)


def journal_recover(directory: Path) -> int:
    return len(recover(directory).records)


def open_journal(directory: Path) -> Store:
    directory.mkdir(exist_ok=True)
    return Writer(directory, 0, 16 << 20)


Kind = tuple[Callable[[Path], Store], Callable[[Path], int]]
OURS: Kind = (open_journal, journal_recover)
THEIRS: Kind = (SqliteStore, sqlite_recover)


def run() -> list[Result]:
    """The journal's figures as ratios to SQLite's, measured in turn."""
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        ours, theirs = [], []
        for number in range(ROUNDS):
            ours.append(_measure(base / f"ours-{number}", OURS))
            theirs.append(_measure(base / f"theirs-{number}", THEIRS))
        lost = [_lost(base / "flips-ours", OURS), _lost(base / "flips-theirs", THEIRS)]
    alone, together, size, recovery = (
        ([row[at] for row in ours], [row[at] for row in theirs]) for at in range(4)
    )
    return [
        ratio("journal / SQLite: records/s, one at a time", *alone, at_least=1.1),
        ratio(f"journal / SQLite: records/s, {TOGETHER} at once", *together, at_least=1.0),
        ratio("journal / SQLite: bytes written", *size, at_most=0.7),
        ratio(f"journal / SQLite: recovery of {RECOVERED} records", *recovery, at_most=1.5),
        value(f"journal: of {FLIPS} flipped bits, more than a batch lost", lost[:1], "", at_most=0),
        value(f"SQLite: of {FLIPS} flipped bits, more than a batch lost", lost[1:], ""),
    ]


def _measure(directory: Path, kind: Kind) -> tuple[float, float, float, float]:
    """Records/s alone and together, bytes written meanwhile, seconds to recover."""
    make, read = kind
    store = make(directory)
    before = _written()
    alone = ALONE / _seconds(lambda: [store.write([data]) for data in _alone()])
    together = _seconds(lambda: [store.write(RECORDS) for _ in range(BATCHES)])
    written = _written() - before
    store.snapshot(STATE)
    for _ in range(RECOVERED // 50):
        store.write(RECORDS[:50])
    store.close()
    counts: list[int] = []
    recovery = _seconds(lambda: counts.append(read(directory)))
    assert counts == [RECOVERED]
    return alone, TOGETHER * BATCHES / together, written, recovery


def _alone() -> list[bytes]:
    return [RECORDS[number % TOGETHER] for number in range(ALONE)]


def _seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _written() -> int:
    """Bytes this process has written so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def _lost(directory: Path, kind: Kind) -> float:
    """How many of many flipped bits, each alone, lose more than the last batch without an error.

    The last batch is not counted: a flipped bit in it looks like a write that was interrupted.
    The files are taken as kill -9 leaves them: while the store is open.
    """
    make, read = kind
    store = make(directory)
    for number in range(WRITTEN):
        store.write([RECORDS[number % TOGETHER]])
    file = _newest(directory)
    chosen = random.Random(9)
    lost = 0
    for _ in range(FLIPS):
        copy = directory.with_name("flipped")
        shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("*-shm"))
        data = bytearray(file.read_bytes())
        bit = chosen.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        (copy / file.name).write_bytes(data)
        try:
            lost += read(copy) < WRITTEN - 1
        except (JournalError, sqlite3.DatabaseError, ValueError):
            pass
        shutil.rmtree(copy)
    store.close()
    return float(lost)


def _newest(directory: Path) -> Path:
    """The file that has the records: the segment, or SQLite's WAL until its checkpoint."""
    found = segments(directory)
    return found[-1][1] if found else directory / "journal.db-wal"
