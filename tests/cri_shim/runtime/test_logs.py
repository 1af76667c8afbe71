"""The CRI log as conmon writes it, its rotation and its last line."""

import asyncio
import os
from pathlib import Path

from cri_shim.runtime import logs
from tests.support.containers import Boxes, until
from tests.support.log_lines import joined

TURNS = 500


async def test_long_lines_come_in_tagged_pieces(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short")
    await box.end()
    pieces = [line.split(" ", 3) for line in box.lines()]
    *parts, last, short = pieces
    assert parts and all(tag == "P" for _, _, tag, _ in parts)
    assert last[2] == "F" and short[2:] == ["F", "short"]
    assert all(len(text) <= 16384 for _, _, _, text in pieces)
    assert "".join(text for _, _, _, text in [*parts, last]) == "x" * 40000


async def test_a_cut_off_line_is_ended_for_each_stream(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "printf a; printf b >&2; sleep 0.05; echo c; printf d >&2")
    await box.end()
    before = box.log.read_bytes()
    logs.seal(box.log)
    added = box.log.read_bytes().removeprefix(before).decode().splitlines()
    assert [line.split(" ", 1)[1] for line in added] == ["stderr F "]
    logs.seal(box.log)
    assert len(box.lines()) == len(before.splitlines()) + 1


def test_sealing_what_is_no_log_does_nothing(tmp_path: Path) -> None:
    logs.seal(tmp_path / "missing")
    (tmp_path / "link").symlink_to("/dev/null")
    logs.seal(tmp_path / "link")
    odd = tmp_path / "odd"
    odd.write_text("no log at all\n")
    logs.seal(odd)
    assert odd.read_text() == "no log at all\n"


async def test_no_line_is_lost_in_rotations_at_full_speed(boxes: Boxes) -> None:
    script = "i=0; while [ ! -e /tmp/stop-$0 ]; do i=$((i+1)); echo $i; done"
    box = boxes.new()
    await box.run("sh", "-c", script, box.id)
    assert box.created is not None
    for turn in range(TURNS):
        size = box.log.stat().st_size
        await until(lambda size=size: box.log.stat().st_size > size)
        box.log.rename(box.log.with_suffix(f".{turn}"))
        await logs.reopen_log(box.bundle, box.log, box.created.conmon_pid)
        assert box.log.exists()
    (box.rootfs / "tmp" / f"stop-{box.id}").touch()
    await box.end()
    files = [*(box.log.with_suffix(f".{turn}") for turn in range(TURNS)), box.log]
    numbers = [int(line) for line in joined(b"".join(file.read_bytes() for file in files))]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > TURNS


async def test_reopening_what_was_not_rotated_keeps_it(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "echo one; sleep 1000")
    assert box.created is not None
    await until(box.lines)
    await logs.reopen_log(box.bundle, box.log, box.created.conmon_pid)
    assert len(box.lines()) == 1


async def test_reopening_after_a_file_was_put_in_its_place(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "echo one; read x; echo two", stdin=True)
    assert box.created is not None
    await until(box.lines)
    box.log.rename(box.log.with_suffix(".old"))
    box.log.touch()
    before = box.log.stat().st_ino
    await logs.reopen_log(box.bundle, box.log, box.created.conmon_pid)
    assert box.log.stat().st_ino != before


async def test_reopening_after_the_end_makes_the_file(boxes: Boxes) -> None:
    box = await boxes.run("echo", "x")
    assert box.created is not None
    await box.end()
    box.log.rename(box.log.with_suffix(".old"))
    await logs.reopen_log(box.bundle, box.log, box.created.conmon_pid)
    assert box.log.read_bytes() == b""


async def test_reopening_while_it_ends_neither_hangs_nor_fails(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    assert box.created is not None
    box.log.rename(box.log.with_suffix(".old"))
    os.kill(box.pid, 9)
    async with asyncio.timeout(10):
        await logs.reopen_log(box.bundle, box.log, box.created.conmon_pid)
    assert box.log.exists()
    await box.end()
