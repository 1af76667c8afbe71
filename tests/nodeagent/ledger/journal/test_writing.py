"""Group commit, failure of the disk, one owner, and a writer killed at any moment."""

import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nodeagent.ledger.journal.errors import JournalError
from nodeagent.ledger.journal.frames import frames
from nodeagent.ledger.journal.journal import BATCH_BYTES, Journal
from nodeagent.ledger.journal.segments import START_BYTES, segments
from tests.nodeagent.ledger.journal.journal_writing import Gate, fill, reopened

WRITER = """
import asyncio, os, sys
from pathlib import Path
from nodeagent.ledger.journal.journal import Journal

async def write(directory, start):
    journal = Journal(directory, segment_bytes=4096)
    print("open", journal.recovered.last, flush=True)
    number = start
    while True:
        waiting = []
        for _ in range(1 + number % 4):
            number += 1
            waiting.append(journal.append({"n": number}))
        for done in waiting:
            os.write(1, b"%d\\n" % await done)
        if number % 25 == 0:
            await journal.snapshot({"upto": number})

asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
"""


async def test_records_that_wait_together_become_durable_together(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    numbers = await asyncio.gather(*[journal.append({"n": n}) for n in range(2000)])
    await journal.close()
    assert numbers == list(range(1, 2001))
    data = segments(tmp_path)[0][1].read_bytes()
    batches = list(frames(data, START_BYTES))
    assert sum(len(batch.records) for batch in batches) == 2000
    assert len(batches) < 1000


async def test_a_record_is_on_the_disk_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronised: list[int] = []
    fdatasync = os.fdatasync

    def watched(fd: int) -> None:
        fdatasync(fd)
        synchronised.append(os.fstat(fd).st_size)

    monkeypatch.setattr(os, "fdatasync", watched)
    journal = Journal(tmp_path)
    for number in (1, 2):
        await journal.append({"n": number})
        assert synchronised[-1] == segments(tmp_path)[0][1].stat().st_size
        assert len(synchronised) == number
    await journal.close()


async def test_batches_are_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    gate = Gate(journal)
    waiting = [journal.append({"n": 0})]
    await gate.reached()
    waiting += [journal.append({"text": "x" * (BATCH_BYTES // 2)}) for _ in range(5)]
    gate.open()
    await asyncio.gather(*waiting)
    assert gate.batches == [1, 2, 2, 1]
    await journal.close()


async def test_a_snapshot_is_no_part_of_a_batch(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    gate = Gate(journal)
    waiting = [journal.append({"n": 1})]
    await gate.reached()
    waiting += [journal.append({"n": 2}), journal.snapshot("two"), journal.append({"n": 3})]
    gate.open()
    assert await asyncio.gather(*waiting) == [1, 2, 2, 3]
    assert gate.batches == [1, 1, 1]
    await journal.close()
    found = await reopened(tmp_path)
    assert (found.state, found.snapshot, found.records) == ("two", 2, ({"n": 3},))


async def test_nothing_is_written_after_a_failure(tmp_path: Path) -> None:
    """Also if the disk would take it again: the file may end in half a frame."""
    journal = Journal(tmp_path)
    gate = Gate(journal, OSError(28, "No space left on device"))
    failing = [journal.append({"n": 1})]
    await gate.reached()
    failing.append(journal.append({"n": 2}))
    gate.open()
    for done in failing:
        with pytest.raises(JournalError, match="No space left"):
            await done
    assert gate.batches == [1]
    await journal.close()
    assert (await reopened(tmp_path)).last == 0


async def test_a_record_that_is_no_record_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(TypeError):
        journal.append({"n": b"bytes"})  # type: ignore[dict-item]  # what the test is about
    assert await journal.append({"n": 1}) == 1
    await journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.append({"n": 2})
    assert len((await reopened(tmp_path)).records) == 1


async def test_a_state_that_is_no_state_ends_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="bytes"):
        await journal.snapshot({"n": b"bytes"})  # type: ignore[dict-item]  # what the test is about
    with pytest.raises(JournalError):
        journal.append({"n": 1})
    await journal.close()
    assert (await reopened(tmp_path)).last == 0


async def test_a_cancelled_waiter_does_not_stop_the_others(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first, second = journal.append({"n": 1}), journal.append({"n": 2})
    first.cancel()
    assert await second == 2
    await journal.close()
    assert (await reopened(tmp_path)).last == 2


async def test_one_owner(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match=f"in use by process {os.getpid()}"):
        Journal(tmp_path)
    await journal.close()
    await fill(tmp_path, [{"n": 1}])


async def test_a_failed_write_ends_the_journal_and_loses_nothing(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: half a frame is written, then an error."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = Journal(tmp_path)
    await journal.append({"n": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        failing = [journal.append({"n": 2, "text": "x" * 2000}), journal.append({"n": 3})]
        for done in failing:
            with pytest.raises(JournalError, match="File too large"):
                await done
        with pytest.raises(JournalError, match="restart the agent"):
            journal.append({"n": 4})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    await journal.close()
    found = await reopened(tmp_path)
    assert list(found.records) == [{"n": 1}]
    assert found.torn is not None


def run_writer(directory: Path, start: int, acknowledged: int) -> list[int]:
    """Let a writer acknowledge that many records, kill it, and return all that it acknowledged."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(start)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == f"open {start}\n"
        said = [int(child.stdout.readline()) for _ in range(acknowledged)]
        child.kill()
        said += [int(line) for line in child.stdout if line.endswith("\n")]
    return said


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    moments = random.Random(4)
    last = 0
    for _ in range(12):
        said = run_writer(tmp_path, last, moments.randint(0, 120))
        found = asyncio.run(reopened(tmp_path))
        assert found.last >= max(said, default=last)
        assert said == list(range(last + 1, last + 1 + len(said)))
        upto = json.loads(json.dumps(found.state))["upto"] if found.snapshot else 0
        assert upto == found.snapshot
        assert [it["n"] for it in found.records] == list(range(upto + 1, found.last + 1))
        assert not list(tmp_path.glob(".*"))
        last = found.last
    assert last > 300
