"""What a killed daemon left: its execs are ended, and nobody else's process is."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri_shim.runtime import stale_execs


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        process.kill()


def test_its_exec_is_ended(tmp_path: Path, sleeper: "subprocess.Popen[bytes]") -> None:
    (tmp_path / "1-1.pid").write_text(str(sleeper.pid))
    (tmp_path / "1-2.sock").touch()
    stale_execs.kill_all(tmp_path)
    assert sleeper.wait(timeout=10) == -9
    assert list(tmp_path.iterdir()) == []


def test_a_younger_process_by_that_number_is_not_its(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    file = tmp_path / "1-1.pid"
    file.write_text(str(sleeper.pid))
    os.utime(file, (1_000_000_000, 1_000_000_000))
    stale_execs.kill_all(tmp_path)
    assert sleeper.poll() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "half", "-1", "0", "999999999"])
def test_a_file_that_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "1-1.pid").write_text(text)
    stale_execs.kill_all(tmp_path)
    assert list(tmp_path.iterdir()) == []
