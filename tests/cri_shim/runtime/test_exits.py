"""Exits: learnt once, with their code, whoever died first and whenever we look."""

import asyncio
import os
import signal
import time
from pathlib import Path

from berth.linux.tasks import Tasks
from cri_shim.runtime import commands, conmon, subreaper
from cri_shim.runtime.exits import UNKNOWN_CODE, Exit, ExitWatcher
from tests.support.containers import Boxes, until


async def test_one_that_ended_while_nobody_watched(boxes: Boxes) -> None:
    box = boxes.new()
    box.created = await conmon.create(box.launch("sh", "-c", "exit 3"), 20)
    await commands.start(box.handler, box.id)
    await until(lambda: (box.persist / "exit").exists())
    before = time.time_ns()
    box.watch()
    assert not box.ended.done(), "the report must not come before watch() has returned"
    exit = await box.end()
    assert (exit.code, exit.known) == (3, True)
    assert exit.at <= before


async def test_a_container_outlives_its_conmon(boxes: Boxes) -> None:
    box = await boxes.run("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.02; done")
    assert box.created is not None
    os.kill(box.created.conmon_pid, signal.SIGKILL)
    monitor = box.created.conmon_pid
    await until(lambda: not exists(monitor))
    assert exists(box.pid)
    assert not box.ended.done()
    # As the nearest subreaper this process inherits the container, so the code is not lost.
    os.kill(box.pid, signal.SIGKILL)
    exit = await box.end()
    assert (exit.code, exit.known) == (137, True)


async def test_conmon_and_container_lost_in_a_restart(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    assert box.created is not None
    boxes.watcher.forget(box.id)
    os.kill(box.created.conmon_pid, signal.SIGKILL)
    os.kill(box.pid, signal.SIGKILL)
    orphans = subreaper.Orphans()
    await until(lambda: orphans.sweep() < 0 or not exists(box.pid))
    box.watch()
    exit = await box.end()
    assert (exit.code, exit.known) == (UNKNOWN_CODE, False)
    assert "conmon was killed" in exit.reason


async def test_a_reused_number_is_another_process(boxes: Boxes, tmp_path: Path) -> None:
    seen: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    me = os.getpid()
    boxes.watcher.watch("x", me, 1, me, 1, tmp_path / "exit", seen.set_result)
    assert not (await seen).known


async def test_a_conmon_stuck_on_a_full_pipe_is_ended(boxes: Boxes) -> None:
    """The first process is gone; a child in the host's PID namespace writes for ever."""
    options = {"spec": {"namespaces": ["mount"]}}
    box = await boxes.run("sh", "-c", "yes & sleep 0.05; exit 4", **options)
    exit = await box.end()
    assert exit.code in (4, UNKNOWN_CODE)
    assert exit.known == (exit.code == 4)
    await commands.delete(box.handler, box.id, force=True)


async def test_done_may_be_a_coroutine_and_forgetting_is_final(boxes: Boxes) -> None:
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def done(exit: Exit) -> None:
        await asyncio.sleep(0)
        seen.set_result(exit.code)

    box = await boxes.run("sleep", "1000")
    made = box.created
    assert made is not None
    async with Tasks() as tasks:
        watcher = ExitWatcher(tasks)
        watcher.watch(
            box.id,
            made.pid,
            made.pid_start,
            made.conmon_pid,
            made.conmon_start,
            box.persist / "exit",
            done,
        )
        boxes.watcher.forget(box.id)
        boxes.watcher.forget(box.id)
        os.kill(made.pid, signal.SIGTERM)  # pid 1 without a handler: ignored
        os.kill(made.pid, signal.SIGKILL)
        assert await asyncio.wait_for(seen, 10) == 137
    assert not box.ended.done()


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
