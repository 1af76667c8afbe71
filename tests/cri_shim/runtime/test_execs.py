"""Commands in a running container, to their end and with streams."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from berth.base.errors import DeadlineExceeded, RuntimeFailure
from cri_shim.runtime import execs
from tests.support.containers import Boxes, process, until


async def read(fd: int | None, wanted: bytes, seconds: float = 10) -> bytes:
    """Read until `wanted` has come."""
    assert fd is not None
    data = b""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        async with asyncio.timeout(seconds):
            while wanted not in data:
                ready.clear()
                await ready.wait()
                try:
                    data += os.read(fd, 65536)
                except BlockingIOError:
                    continue
                except OSError:  # EIO: nobody has the terminal open any more
                    break
    finally:
        loop.remove_reader(fd)
    return data


async def test_codes_and_streams(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")

    async def run(*args: str) -> tuple[int, bytes, bytes]:
        result = await execs.exec_sync(box.handler, box.id, process(*args), 20)
        return result.code, result.stdout, result.stderr

    assert await run("sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
    assert await run("sh", "-c", "kill -9 $$") == (137, b"", b"")
    assert await run("printf", "\\377\\000x") == (0, b"\xff\0x", b"")
    assert await run("cat") == (0, b"", b"")
    user = process("id", "-u", user={"uid": 1000, "gid": 1000})
    result = await execs.exec_sync(box.handler, box.id, user, None)
    assert result.stdout == b"1000\n"
    odd = process("sh", "-c", 'echo "$0"', "\udcff")
    assert (await execs.exec_sync(box.handler, box.id, odd, 20)).stdout == "\ufffd\n".encode()
    assert list(box.handler.scratch.iterdir()) == []


async def test_a_command_that_cannot_start_is_an_error_not_a_code(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    with pytest.raises(RuntimeFailure, match=f"cannot run '/nope' in container {box.id}: .*/nope"):
        await execs.exec_sync(box.handler, box.id, process("/nope"), 20)
    with pytest.raises(RuntimeFailure, match="nope"):
        await execs.exec_sync(box.handler, box.id, process("ls", cwd="/nope"), 20)
    with pytest.raises(RuntimeFailure, match="cannot run 'ls'"):
        await execs.start_exec(box.handler, box.id, process("ls", cwd="/no"), False, 1, 1, 1)
    with pytest.raises(RuntimeFailure, match="cannot run 'ls'"):
        await execs.start_exec(box.handler, box.id, process("ls", cwd="/no"), True, 1, 1, 0)
    await box.stop()
    with pytest.raises(RuntimeFailure, match="cannot run 'true'"):
        await execs.exec_sync(box.handler, box.id, process("true"), 20)
    assert list(box.handler.scratch.iterdir()) == []


async def test_output_past_the_cap_is_dropped(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    flood = process("sh", "-c", "yes | head -c 3000000; echo end >&2")
    result = await execs.exec_sync(box.handler, box.id, flood, 20, cap=1_000_001)
    assert len(result.stdout) == 1_000_001
    assert (result.code, result.stderr) == (0, b"end\n")


async def test_a_timeout_kills_the_command_and_all_it_started(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    script = "sleep 7001 & setsid sleep 7002 & sh -c 'sleep 7003' & sleep 7004"
    with pytest.raises(DeadlineExceeded, match=r"'sh' in container .* longer than 0\.3 s"):
        await execs.exec_sync(box.handler, box.id, process("sh", "-c", script), 0.3)
    await until(lambda: not any("sleep 700" in line for line in inside(box.pid)))
    assert any("sleep 1000" in line for line in inside(box.pid))


async def test_background_children_live_on_and_do_not_hang_it(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    script = process("sh", "-c", "sleep 6001 & echo started")
    result = await execs.exec_sync(box.handler, box.id, script, 20)
    assert (result.code, result.stdout) == (0, b"started\n")
    assert any("sleep 6001" in line for line in inside(box.pid))


async def test_a_cancelled_call_leaves_no_process(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    call = asyncio.ensure_future(
        execs.exec_sync(box.handler, box.id, process("sleep", "5001"), None)
    )
    await until(lambda: any("sleep 5001" in line for line in inside(box.pid)))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: not any("sleep 5001" in line for line in inside(box.pid)))


async def test_many_at_once_keep_their_results_apart(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")

    async def one(n: int) -> None:
        script = process("sh", "-c", f"echo {n}; exit {n}")
        result = await execs.exec_sync(box.handler, box.id, script, 60)
        assert (result.code, result.stdout) == (n, f"{n}\n".encode())

    await asyncio.gather(*(one(n) for n in range(16)))
    assert list(box.handler.scratch.iterdir()) == []


async def test_streams_and_half_close(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    script = process("sh", "-c", "cat; echo done >&2; exit 9")
    running = await execs.start_exec(box.handler, box.id, script, False, True, True, True)
    assert running.stdin is not None
    os.write(running.stdin, b"a\xffb\n")
    assert await read(running.stdout, b"\n") == b"a\xffb\n"
    running.close_stdin()
    assert await read(running.stderr, b"\n") == b"done\n"
    assert await running.wait() == 9
    await running.close()
    await running.close()


async def test_a_terminal_with_its_size(boxes: Boxes) -> None:
    box = await boxes.run("sleep", "1000")
    script = "tty; read x; stty size; echo $x; exit 4"
    running = await execs.start_exec(
        box.handler, box.id, process("sh", "-c", script), True, True, True, False
    )
    assert running.stderr is None and running.stdin is not None
    assert re.search(rb"/dev/pts/\d+\r\n", await read(running.stdout, b"pts/"))
    await running.resize(101, 31)
    os.write(running.stdin, b"typed\n")
    said = await read(running.stdout, b"typed\r\ntyped\r\n")
    assert b"31 101\r\n" in said
    assert await running.wait() == 4
    await running.resize(1, 1)
    await running.close()
    assert list(box.handler.scratch.iterdir()) == []


@pytest.mark.parametrize("terminal", [False, True])
async def test_closing_kills_what_still_runs(boxes: Boxes, terminal: bool) -> None:
    box = await boxes.run("sleep", "1000")
    script = process("sh", "-c", "sleep 4001 & echo go; sleep 4002")
    running = await execs.start_exec(box.handler, box.id, script, terminal, True, True, False)
    await read(running.stdout, b"go")
    await running.close()
    assert await running.wait() == 137
    await until(lambda: not any("sleep 400" in line for line in inside(box.pid)))
    assert any("sleep 1000" in line for line in inside(box.pid))


def inside(pid: int) -> list[str]:
    """The command lines of the processes in the container of `pid`."""
    space = Path(f"/proc/{pid}/ns/pid").readlink()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "ns/pid").readlink() == space:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
