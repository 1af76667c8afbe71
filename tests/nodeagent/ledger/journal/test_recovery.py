"""What is found again: after cuts at every byte, damage, lost files, and with snapshots."""

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeagent.ledger.journal.errors import JournalCorrupt
from nodeagent.ledger.journal.frames import Record, encode_frame, encode_record, frames
from nodeagent.ledger.journal.recovery import recover
from nodeagent.ledger.journal.segments import START_BYTES, segments, snapshots
from tests.nodeagent.ledger.journal.journal_writing import fill, reopened, take_snapshot

RECORDS: list[Record] = [{"n": n, "op": "request", "text": "x" * n} for n in range(1, 9)]


def one_segment(directory: Path) -> Path:
    ((_, path),) = segments(directory)
    return path


async def test_nothing_there(tmp_path: Path) -> None:
    found = await reopened(tmp_path / "new" / "journal")
    assert (found.state, found.records, found.last, found.torn) == (None, (), 0, None)


async def test_records_come_back_in_order(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS[:3], RECORDS[3:4])
    await fill(tmp_path, RECORDS[4:])
    assert list((await reopened(tmp_path)).records) == RECORDS


async def test_a_cut_at_every_byte_keeps_every_whole_batch(tmp_path: Path) -> None:
    await fill(tmp_path / "whole", RECORDS[:1], RECORDS[1:4], RECORDS[4:5], RECORDS[5:])
    data = one_segment(tmp_path / "whole").read_bytes()
    ends = {START_BYTES: 0}
    for frame in frames(data, START_BYTES):
        ends[frame.end] = max(ends.values()) + len(frame.records)
    directory = tmp_path / "cut"
    for length in range(len(data)):
        directory.mkdir()
        path = directory / one_segment(tmp_path / "whole").name
        path.write_bytes(data[:length])
        found = recover(directory)
        whole = max((end for end in ends if end <= length), default=0)
        assert list(found.records) == RECORDS[: ends.get(whole, 0)]
        assert (found.torn is None) == (length in ends)
        if found.torn is not None:
            assert (found.torn.offset, found.torn.lost) == (whole, length - whole)
        assert recover(directory).torn is None
        shutil.rmtree(directory)


async def test_writing_goes_on_after_a_cut(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS[:3], RECORDS[3:5])
    path = one_segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    await fill(tmp_path, RECORDS[3:])
    assert list((await reopened(tmp_path)).records) == RECORDS


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_byte_loses_at_most_the_last_batch_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], at: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damage")
    blobs, number = [], 1
    for size in sizes:
        blobs.append(encode_frame(number, [encode_record(r) for r in RECORDS[:size]]))
        number += size
    asyncio.run(fill(directory))
    path = one_segment(directory)
    data = bytearray(path.read_bytes() + b"".join(blobs))
    position = at.draw(st.integers(0, len(data) - 1))
    data[position] ^= at.draw(st.integers(1, 255))
    path.write_bytes(data)
    in_last_batch = position >= len(data) - len(blobs[-1])
    if in_last_batch:
        found = recover(directory)
        assert len(found.records) == sum(sizes[:-1])
        assert found.torn is not None
    else:
        with pytest.raises(JournalCorrupt) as caught:
            recover(directory)
        assert caught.value.file == path
        assert str(caught.value.offset) in str(caught.value)
        assert path.read_bytes() == bytes(data)
    shutil.rmtree(directory)


async def test_damage_in_an_earlier_segment_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS[:4], RECORDS[4:], segment_bytes=64)
    path = segments(tmp_path)[0][1]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(JournalCorrupt, match=r"record 1 is damaged at byte 16.*move") as caught:
        recover(tmp_path)
    assert caught.value.file == path


async def test_a_zeroed_tail_was_never_durable(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS)
    path = one_segment(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(4096))
    found = await reopened(tmp_path)
    assert list(found.records) == RECORDS
    assert found.torn is not None and found.torn.lost == 4096


@pytest.mark.parametrize("gone", [0, 1])
async def test_a_lost_segment_is_refused(tmp_path: Path, gone: int) -> None:
    await fill(tmp_path, RECORDS[:2], RECORDS[2:4], RECORDS[4:], segment_bytes=64)
    segments(tmp_path)[gone][1].unlink()
    with pytest.raises(JournalCorrupt, match=r"gone|missing"):
        recover(tmp_path)


async def test_a_lost_segment_after_a_snapshot_is_refused(tmp_path: Path) -> None:
    """Also if it is the newest, and the records before the snapshot are still in the one before."""
    await fill(tmp_path, RECORDS[:3])
    await take_snapshot(tmp_path, "state")
    await fill(tmp_path, RECORDS[3:])
    path = segments(tmp_path)[-1][1]
    path.unlink()
    with pytest.raises(JournalCorrupt, match=r"segment-0*4: this segment is gone"):
        recover(tmp_path)


async def test_a_segment_without_its_whole_header_begins_anew(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS[:3])
    await take_snapshot(tmp_path, "state")
    path = segments(tmp_path)[-1][1]
    path.write_bytes(path.read_bytes()[:5])
    found = await reopened(tmp_path)
    assert found.torn is not None
    assert (found.last, found.torn.offset, found.torn.lost) == (3, 0, 5)
    await fill(tmp_path, RECORDS[3:])
    assert list((await reopened(tmp_path)).records) == RECORDS[3:]


async def test_a_foreign_file_in_a_segments_place_is_refused(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS)
    path = one_segment(tmp_path)
    path.write_bytes(b"something else entirely")
    with pytest.raises(JournalCorrupt, match="no segment"):
        recover(tmp_path)


async def test_a_snapshot_stands_for_the_records_before_it(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS[:3])
    await take_snapshot(tmp_path, {"held": 3})
    await fill(tmp_path, RECORDS[3:])
    found = await reopened(tmp_path)
    assert (found.state, found.snapshot, found.last) == ({"held": 3}, 3, 8)
    assert list(found.records) == RECORDS[3:]


async def test_old_segments_go_after_the_second_snapshot(tmp_path: Path) -> None:
    for number, record in enumerate(RECORDS, 1):
        await fill(tmp_path, [record])
        await take_snapshot(tmp_path, number)
    assert [number for number, _ in snapshots(tmp_path)] == [7, 8]
    assert [first for first, _ in segments(tmp_path)] == [8, 9]
    assert (await reopened(tmp_path)).state == 8


async def test_a_damaged_snapshot_falls_back_to_the_one_before(tmp_path: Path) -> None:
    for number in (2, 4, 6):
        await fill(tmp_path, RECORDS[number - 2 : number])
        await take_snapshot(tmp_path, number)
    await fill(tmp_path, RECORDS[6:])
    bad = snapshots(tmp_path)[-1][1]
    bad.write_bytes(bad.read_bytes()[:-1])
    found = await reopened(tmp_path)
    assert (found.state, found.skipped) == (4, (bad,))
    assert list(found.records) == RECORDS[4:]
    await take_snapshot(tmp_path, 8)
    assert [number for number, _ in snapshots(tmp_path)] == [4, 8]
    assert (await reopened(tmp_path)).state == 8


@pytest.mark.parametrize("content", ["longer", "another's"])
async def test_a_snapshot_that_is_not_what_its_name_says_is_skipped(
    tmp_path: Path, content: str
) -> None:
    for number in (2, 4):
        await fill(tmp_path, RECORDS[number - 2 : number])
        await take_snapshot(tmp_path, number)
    (_, before), (_, newest) = snapshots(tmp_path)
    data = newest.read_bytes() + b"x" if content == "longer" else before.read_bytes()
    newest.write_bytes(data)
    found = await reopened(tmp_path)
    assert (found.state, found.last, found.skipped) == (2, 4, (newest,))


async def test_a_damaged_first_snapshot_falls_back_to_all_records(tmp_path: Path) -> None:
    await fill(tmp_path, RECORDS)
    await take_snapshot(tmp_path, "state")
    snapshots(tmp_path)[0][1].write_bytes(b"")
    found = await reopened(tmp_path)
    assert (found.state, list(found.records)) == (None, RECORDS)


async def test_no_readable_snapshot_and_no_old_records_is_refused(tmp_path: Path) -> None:
    for _ in range(3):
        await fill(tmp_path, RECORDS)
        await take_snapshot(tmp_path, "state")
    for _, path in snapshots(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(JournalCorrupt, match="no snapshot is readable"):
        recover(tmp_path)


@given(st.lists(st.sampled_from(["record", "snapshot", "reopen"]), max_size=15))
@settings(max_examples=40, deadline=None)
def test_any_history_comes_back(
    tmp_path_factory: pytest.TempPathFactory, history: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("history")

    async def live() -> None:
        written = 0
        for step in history:
            if step == "record":
                written += 1
                await fill(directory, [{"n": written}], segment_bytes=80)
            elif step == "snapshot":
                await take_snapshot(directory, written)
            found = await reopened(directory)
            assert found.last == written
            start = found.state if isinstance(found.state, int) else 0
            assert [it["n"] for it in found.records] == list(range(start + 1, written + 1))

    asyncio.run(live())
    shutil.rmtree(directory)
