"""Processes: started, fed, read, killed with their groups, reaped, and named beyond reuse."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from berth.linux import processes
from berth.linux.processes import ProcessTimeout, run, spawn
from tests.support.processes import descendants


def _names(directory: Path | str) -> list[str]:
    return sorted(entry.name for entry in Path(directory).iterdir())


async def test_run_feeds_reads_and_gives_the_code() -> None:
    data = os.urandom(300_000)
    result = await run(["sh", "-c", "cat; echo oops >&2; exit 7"], input=data, timeout=20)
    assert (result.code, result.stdout, result.stderr) == (7, data, b"oops\n")


async def test_run_keeps_the_first_bytes_of_much_output() -> None:
    result = await run(["sh", "-c", "yes | head -c 1000000"], timeout=20, max_output=1000)
    assert result.stdout == b"y\n" * 500
    assert result.code == 0


async def test_run_of_a_child_that_reads_nothing() -> None:
    assert (await run(["true"], input=b"x" * 1_000_000, timeout=20)).code == 0


async def test_signals_become_codes() -> None:
    assert (await run(["sh", "-c", "kill -9 $$"], timeout=20)).code == 137


async def test_run_names_a_missing_program() -> None:
    before = set(_names("/proc/self/fd"))
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        await run(["/no-such-program"], input=b"x", timeout=20)
    assert set(_names("/proc/self/fd")) == before


async def test_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/child; echo stuck >&2; wait"
    with pytest.raises(ProcessTimeout, match=r"sh did not end within 0.3 s.*stuck"):
        await run(["sh", "-c", script], timeout=0.3)
    await _gone(int((tmp_path / "child").read_text()))


async def test_cancel_kills_the_whole_group(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child"
    task = asyncio.ensure_future(run(["sh", "-c", script + "; wait"], timeout=60))
    while not (tmp_path / "child").exists():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(int((tmp_path / "child").read_text()))


async def _gone(pid: int) -> None:
    """Wait until the process is dead (a zombie that nobody reaps here counts)."""
    while (text := _state(pid)) not in ("", "Z", "X"):
        assert text
        await asyncio.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def test_a_grandchild_that_keeps_the_pipes_does_not_hold_us() -> None:
    result = await run(["sh", "-c", "sleep 30 & echo $!"], timeout=20)
    os.kill(int(result.stdout), signal.SIGKILL)
    assert result.code == 0


async def test_environment_directory_and_descriptors(tmp_path: Path) -> None:
    read, write = os.pipe()
    script = f"pwd; echo $WORD; printf through > /dev/fd/{write}"
    result = await run(
        ["sh", "-c", script],
        env={"WORD": "given", "PATH": os.environ["PATH"]},
        cwd=str(tmp_path),
        pass_fds=[write],
        timeout=20,
    )
    assert result.stdout.decode() == f"{tmp_path}\ngiven\n"
    assert os.read(read, 99) == b"through"
    os.close(read)
    os.close(write)


async def test_no_other_descriptor_reaches_the_child() -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    result = await run(["ls", "/proc/self/fd"], timeout=20)
    assert str(write) not in result.stdout.decode().split()
    os.close(read)
    os.close(write)


async def test_spawned_processes_are_reaped_without_a_waiter() -> None:
    process = spawn(["true"])
    process.close()
    pidfd = os.pidfd_open(process.pid)
    while processes.start_time(process.pid) is not None:
        await processes.wait_pidfd(pidfd)
        await asyncio.sleep(0)
    os.close(pidfd)
    assert process.pidfd == -1


async def test_send_and_wait() -> None:
    process = spawn(["sleep", "60"], new_session=True)
    waiters = [asyncio.ensure_future(process.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    assert process.send(signal.SIGTERM)
    assert await waiters[1] == await waiters[2] == 143
    assert not process.send(signal.SIGTERM)
    assert not process.send_group(signal.SIGTERM)
    process.close()


async def test_only_own_children_are_reaped() -> None:
    other = await asyncio.to_thread(subprocess.Popen, ["true"])
    assert (await run(["true"], timeout=20)).code == 0
    assert await asyncio.to_thread(other.wait) == 0


async def test_pidfds_know_a_reused_number() -> None:
    process = spawn(["sleep", "60"])
    start = processes.start_time(process.pid)
    assert start is not None
    assert processes.open_pidfd(process.pid, start - 1) is None
    pidfd = processes.open_pidfd(process.pid, start)
    assert pidfd is not None
    watching = [asyncio.ensure_future(processes.wait_pidfd(pidfd)) for _ in range(2)]
    await asyncio.sleep(0)
    assert processes.send_signal(pidfd, signal.SIGKILL)
    await asyncio.gather(*watching)
    assert await process.wait() == 137
    assert not processes.send_signal(pidfd, signal.SIGKILL)
    assert processes.open_pidfd(process.pid, start) is None
    os.close(pidfd)
    process.close()


async def test_descendants_nearest_first() -> None:
    read, write = os.pipe()
    script = f"sh -c 'sleep 60 & echo $! > /dev/fd/{write}; wait' & wait"
    process = spawn(["sh", "-c", script], pass_fds=[write], new_session=True)
    grandchild = int(os.read(read, 99))
    found = descendants(process.pid)
    assert len(found) == 2
    assert found[1] == grandchild
    process.send_group(signal.SIGKILL)
    await process.wait()
    process.close()
    os.close(read)
    os.close(write)


def test_start_goes_by_vfork() -> None:
    """Python 3.11 uses vfork where there is no preexec function; a copy of the daemon is not."""
    assert subprocess._USE_VFORK
    assert sys.version_info >= (3, 11)
