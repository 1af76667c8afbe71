"""Container logs as the kubelet reads, rotates and follows them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.log_lines import entries, joined
from tests.support.shim import Shim

COUNT = "i=0; while [ ! -e /stop ]; do i=$((i+1)); echo $i; done"
TURNS = {"runc": 1000, "crun": 200}
"""Rotations. conmon writes the logs, whichever runtime it started."""
BURST = 600_000

Run = Callable[..., str]


@pytest.fixture
def run(shim: Shim, image: str, handler: str, tmp_path: Path) -> Iterator[Run]:
    """Runs a script in a container that logs to `tmp_path`/c.log; all goes at the end."""
    made: list[str] = []

    def go(script: str, log_directory: Path = tmp_path, **fields: bool) -> str:
        config = pods.pod_config(log_directory=str(log_directory))
        made.append(pods.run_pod(shim, config, handler))
        container = pods.container_config(
            image, ["/bin/sh", "-c", script], log_path="c.log", **fields
        )
        return pods.run_container(shim, made[-1], container, config)

    yield go
    for pod in made:
        shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def reopen(shim: Shim, container: str) -> None:
    shim.runtime.ReopenContainerLog(cri.ReopenContainerLogRequest(container_id=container))


def test_entries_and_lines_of_any_length(shim: Shim, run: Run, tmp_path: Path) -> None:
    script = (
        "echo short; echo; echo err >&2; printf 'gr\\374\\337e\\n'; "
        "head -c 40000 /dev/zero | tr '\\0' x; echo; echo last"
    )
    pods.until_exited(shim, run(script))
    data = (tmp_path / "c.log").read_bytes()
    assert joined(data) == [b"short", b"", b"gr\xfc\xdfe", b"x" * 40000, b"last"]
    assert joined(data, "stderr") == [b"err"]
    assert all(len(text) <= 16384 for _, _, text in entries(data))
    assert data.endswith(b"\n")


def test_a_terminals_log(shim: Shim, run: Run, tmp_path: Path) -> None:
    pods.until_exited(shim, run("echo out; echo err >&2", tty=True))
    assert joined((tmp_path / "c.log").read_bytes()) == [b"out\r", b"err\r"]


def test_a_line_cut_off_by_the_end_is_ended(shim: Shim, run: Run, tmp_path: Path) -> None:
    pods.until_exited(shim, run("echo one; printf 'no end'; printf 'nor here' >&2"))
    data = (tmp_path / "c.log").read_bytes()
    assert joined(data) == [b"one", b"no end"]
    assert joined(data, "stderr") == [b"nor here"]


def test_a_kill_loses_nothing_that_was_written(shim: Shim, run: Run, tmp_path: Path) -> None:
    container, log = run(COUNT), tmp_path / "c.log"
    pods.until(lambda: log.stat().st_size > 100_000, "many lines")
    pods.stop(shim, container)
    assert pods.until_exited(shim, container).exit_code == 137
    assert check_numbers([log]) > 2000


def test_no_line_is_lost_in_rotations(shim: Shim, run: Run, handler: str, tmp_path: Path) -> None:
    container, log = run(COUNT), tmp_path / "c.log"
    for turn in range(TURNS[handler]):
        log.rename(tmp_path / f"{turn}.old")
        reopen(shim, container)
        assert log.exists()
    pods.execute(shim, container, "touch", "/stop")
    pods.until_exited(shim, container)
    check_numbers([*(tmp_path / f"{turn}.old" for turn in range(TURNS[handler])), log])


def test_no_byte_is_lost_in_rotations_of_a_burst(shim: Shim, run: Run, tmp_path: Path) -> None:
    """Writes of many lines, cut anywhere: a line may begin in one file and end in the next."""
    container, log = run(f"seq 1 {BURST}"), tmp_path / "c.log"
    turn = 0
    while pods.status(shim, container).state == cri.CONTAINER_RUNNING:
        log.rename(tmp_path / f"{turn}.old")
        reopen(shim, container)
        turn += 1
    assert turn > 10
    last = check_numbers([*(tmp_path / f"{number}.old" for number in range(turn)), log])
    assert last == BURST


def check_numbers(files: list[Path]) -> int:
    """The lines of all files are 1, 2, 3…; the last."""
    lines = joined(b"".join(file.read_bytes() for file in files))
    assert list(map(int, lines)) == list(range(1, len(lines) + 1))
    return len(lines)


def test_reopening_without_a_rotation_goes_on(shim: Shim, run: Run, tmp_path: Path) -> None:
    container, log = run("echo one; until [ -e /go ]; do :; done; echo two"), tmp_path / "c.log"
    pods.until(lambda: log.stat().st_size > 0, "a line")
    reopen(shim, container)
    pods.execute(shim, container, "touch", "/go")
    pods.until_exited(shim, container)
    assert joined(log.read_bytes()) == [b"one", b"two"]


def test_reopening_after_the_file_was_deleted(shim: Shim, run: Run, tmp_path: Path) -> None:
    container, log = run("echo one; until [ -e /go ]; do :; done; echo two"), tmp_path / "c.log"
    pods.until(lambda: log.stat().st_size > 0, "a line")
    log.unlink()
    reopen(shim, container)
    assert log.read_bytes() == b""
    pods.execute(shim, container, "touch", "/go")
    pods.until_exited(shim, container)
    assert joined(log.read_bytes()) == [b"two"]


def test_reopening_for_a_container_that_ended(shim: Shim, run: Run, tmp_path: Path) -> None:
    container, log = run("echo one"), tmp_path / "c.log"
    pods.until_exited(shim, container)
    log.rename(tmp_path / "old")
    for _ in range(2):
        reopen(shim, container)
        assert log.read_bytes() == b""
    assert joined((tmp_path / "old").read_bytes()) == [b"one"]


def test_a_cut_off_line_is_ended_in_the_file_after_it(shim: Shim, run: Run, tmp_path: Path) -> None:
    container, log = run("echo one; printf two; until [ -e /go ]; do :; done"), tmp_path / "c.log"
    pods.until(lambda: b"two" in log.read_bytes(), "the beginning of a line")
    old = tmp_path / "c.log.20260102-030405"
    log.rename(old)
    reopen(shim, container)
    pods.execute(shim, container, "touch", "/go")
    pods.until_exited(shim, container)
    assert entries(log.read_bytes()) == [("stdout", "F", b"")]
    assert joined(old.read_bytes() + log.read_bytes()) == [b"one", b"two"]


def test_reopening_while_it_ends(shim: Shim, run: Run, tmp_path: Path) -> None:
    """Whichever comes first, the line that was cut off is ended and nothing is lost."""
    log = tmp_path / "c.log"
    for number in range(10):
        container = run("echo one; printf two")
        old = tmp_path / f"c.log.{number}"
        pods.until(lambda: log.exists() and log.stat().st_size > 0, "a line")
        log.rename(old)
        reopen(shim, container)
        pods.until_exited(shim, container)
        assert joined(old.read_bytes() + log.read_bytes()) == [b"one", b"two"]
        log.unlink()
        old.unlink()


def test_reopening_what_has_no_log(shim: Shim, image: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        reopen(shim, "none")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
    container = pods.run_container(shim, pods.run_pod(shim), pods.container_config(image))
    reopen(shim, container)


def test_a_directory_with_a_colon_in_its_name(shim: Shim, run: Run, tmp_path: Path) -> None:
    directory = tmp_path / "a:b" / "c:d"
    directory.mkdir(parents=True)
    container, log = (
        run("echo one; until [ -e /go ]; do :; done; echo two", directory),
        directory / "c.log",
    )
    pods.until(lambda: log.stat().st_size > 0, "a line")
    log.rename(directory / "old")
    reopen(shim, container)
    pods.execute(shim, container, "touch", "/go")
    pods.until_exited(shim, container)
    assert joined((directory / "old").read_bytes()) == [b"one"]
    assert joined(log.read_bytes()) == [b"two"]


class Follower:
    """Reads as `kubectl logs -f` does: on and on, and in the new file once the old one is done."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._file = log.open("rb")
        self.data = b""

    def read(self) -> None:
        rotated = not os.path.samestat(os.fstat(self._file.fileno()), os.stat(self._log))
        self.data += self._file.read()
        if rotated:
            self._file.close()
            self._file = self._log.open("rb")

    def close(self) -> None:
        self.read()
        self._file.close()


def test_following_through_rotations(shim: Shim, run: Run, tmp_path: Path) -> None:
    container, log = run(COUNT), tmp_path / "c.log"
    pods.until(log.exists, "a log")
    follower = Follower(log)
    for turn in range(20):
        seen = len(follower.data)

        def more(seen: int = seen) -> bool:
            follower.read()
            return len(follower.data) > seen

        pods.until(more, "more lines")
        log.rename(tmp_path / f"{turn}.old")
        reopen(shim, container)
        follower.read()
    pods.execute(shim, container, "touch", "/stop")
    pods.until_exited(shim, container)
    follower.close()
    numbers = list(map(int, joined(follower.data)))
    assert numbers == list(range(1, len(numbers) + 1))
