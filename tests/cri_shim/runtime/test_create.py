"""Creating containers behind conmon: what works, and that failures leave nothing."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from berth.base.errors import DeadlineExceeded, RuntimeFailure
from berth.linux import processes
from cri_shim.runtime import commands, conmon
from cri_shim.runtime.handler import Handler
from tests.support.containers import Boxes, until


async def test_a_container_waits_for_start_and_ends_with_its_code(boxes: Boxes) -> None:
    box = await boxes.new().create("sh", "-c", "echo one; echo two >&2; exit 7")
    assert box.lines() == []
    state = await commands.state(box.handler, box.id)
    assert state is not None and (state["status"], state["pid"]) == ("created", box.pid)
    assert (box.handler.root / box.id).is_dir()
    await commands.start(box.handler, box.id)
    exit = await box.end()
    assert (exit.code, exit.known, exit.reason) == (7, True, "")
    assert [line.split(" ", 1)[1] for line in box.lines()] == ["stdout F one", "stderr F two"]
    await commands.delete(box.handler, box.id)
    assert await commands.state(box.handler, box.id) is None
    await commands.delete(box.handler, box.id)


async def test_a_signal_counts_as_128_plus_its_number(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    assert (await box.stop()).code == 128 + signal.SIGKILL


async def test_a_container_without_log_and_one_with_colons_in_the_directory(boxes: Boxes) -> None:
    silent = await boxes.run("echo", "x", log=None)
    assert (await silent.end()).code == 0
    assert not silent.log.exists()
    box = boxes.new()
    directory = box.directory / "pod:with:colons"
    directory.mkdir()
    await box.run("echo", "x", log=str(directory / "0.log"))
    await box.end()
    assert (directory / "0.log").read_text().endswith(" stdout F x\n")
    with pytest.raises(RuntimeFailure, match="no colon in the name of a log file"):
        await boxes.new().create("echo", log=str(directory / "a:b.log"))


async def test_conmon_starts_inside_the_cgroup_it_is_given(boxes: Boxes) -> None:
    box = boxes.new()
    group = Path("/sys/fs/cgroup/pids") / f"{box.id}-conmon"
    group.mkdir()
    try:
        await box.run("sleep", "1000", conmon_cgroup=(str(group / "cgroup.procs"),))
        assert box.created is not None
        assert (group / "cgroup.procs").read_text().split() == [str(box.created.conmon_pid)]
        await box.stop()
        await until(lambda: not (group / "cgroup.procs").read_text())
    finally:
        group.rmdir()


@pytest.mark.parametrize(
    ("args", "options", "words"),
    [
        (["/nope"], {}, "/nope"),
        (["nope"], {}, "executable file.*not found in \\$PATH"),
        (["sh"], {"spec": {"cwd": "/bin/sh/x"}}, "ot a directory"),
        (["sh"], {"log": "/nonexistent/0.log"}, "conmon: Failed to open log file"),
        (["nope"], {"terminal": True}, "not found"),
    ],
)
async def test_a_refused_container_leaves_nothing(
    boxes: Boxes, args: list[str], options: dict[str, Any], words: str
) -> None:
    box = boxes.new()
    with pytest.raises(RuntimeFailure, match=f"cannot create container {box.id}: .*{words}"):
        await box.create(*args, **options)
    assert_nothing_left(box.handler, box.id, box.bundle, box.persist)
    assert not box.log.exists()


async def test_a_broken_document_is_refused(boxes: Boxes) -> None:
    box = boxes.new()
    launch = box.launch("sh")
    (box.bundle / "config.json").write_text("{")
    with pytest.raises(RuntimeFailure, match=f"{box.handler.kind}: .+"):
        await conmon.create(launch, 10)
    assert_nothing_left(box.handler, box.id, box.bundle, box.persist)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_runtime_that_hangs_is_killed(boxes: Boxes, cancelled: bool) -> None:
    box = boxes.new()
    stuck = box.directory / "stuck"
    stuck.write_text(f"#!/bin/sh\necho $$ > {box.directory}/pid\nexec sleep 1000\n")
    stuck.chmod(0o755)
    box.handler = Handler("stuck", str(stuck), "crun", box.directory / "root")
    box.handler.prepare()
    launch = box.launch("sh")
    pid_file = box.directory / "pid"
    if cancelled:
        call = asyncio.ensure_future(conmon.create(launch, 100))
        await until(lambda: pid_file.exists() and pid_file.read_text())
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    else:
        with pytest.raises(DeadlineExceeded, match=r"did not end within 0\.3 s and was killed"):
            await conmon.create(launch, 0.3)
    await until(lambda: not Path(f"/proc/{int(pid_file.read_text())}/root").exists())
    assert_nothing_left(box.handler, box.id, box.bundle, box.persist)


async def test_commands_of_a_running_container(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    await box.call_runtime("pause", box.id)
    state = await commands.state(box.handler, box.id)
    assert state is not None and state["status"] == "paused"
    await commands.resume(box.handler, box.id)
    resources = json.dumps({"pids": {"limit": 77}, "memory": {"limit": 64 << 20}}).encode()
    await commands.update(box.handler, box.id, resources)
    limit = Path(f"/sys/fs/cgroup/pids/{box.id}/pids.max")
    assert limit.read_text().strip() == "77"
    with pytest.raises(RuntimeFailure, match=f"cannot delete container {box.id}: .+"):
        await commands.delete(box.handler, box.id)
    await box.call_runtime("kill", box.id, "KILL")
    assert (await box.end()).code == 137
    with pytest.raises(RuntimeFailure, match=f"cannot start container {box.id}: .+"):
        await commands.start(box.handler, box.id)
    await commands.delete(box.handler, box.id)
    assert not limit.exists()


async def test_bytes_that_are_no_utf8_do_not_stop_a_container(boxes: Boxes) -> None:
    box = boxes.new()
    launch = box.launch("sh", "-c", "echo $X", spec={"env": ["X=a\ufffdb"]})
    box.created = await conmon.create(launch, 10)
    box.watch()
    await commands.start(box.handler, box.id)
    await box.end()
    assert box.lines()[0].endswith("F a\ufffdb")


def assert_nothing_left(handler: Handler, id: str, bundle: Path, persist: Path) -> None:
    assert not (handler.root / id).exists()
    assert sorted(os.listdir(bundle)) == ["config.json"]
    assert os.listdir(persist) == []
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{id}"))
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if id.encode() in words and processes.start_time(int(entry.parent.name)) is not None:
            raise AssertionError(f"{entry.parent.name} still runs: {words}")
