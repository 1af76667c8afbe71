"""The CRI log that conmon writes: following a rotation, and ending a line that was cut off.

conmon tags what has no newline yet as P(artial), in pieces of up to 8 KiB, and leaves it so where
the container ends; readers then wait for the rest of the line.
"""

import asyncio
import contextlib
import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

from cri_shim.model.errors import DeadlineExceeded
from cri_shim.runtime import control

_TAIL = 1 << 16
_STREAMS = (b"stdout", b"stderr")


async def reopen_log(bundle: Path, log: Path, conmon_pid: int, timeout: float = 10.0) -> None:
    """Make conmon go on in a new file at `log`; returns when it has.

    For a rotation: the old file was renamed before. Where it was not, it stays and nothing is
    lost. Where conmon has ended, a missing file is made, empty. DeadlineExceeded after `timeout`
    seconds.
    """
    before = _identity(log)
    if before is not None and before in _opened(conmon_pid):
        return
    if not control.reopen(bundle):
        _make(log)
        return
    # conmon opens LOG.tmp and renames it: the name's new inode is the sign that it is done.
    deadline = time.monotonic() + timeout
    pause = 0.0005
    while _identity(log) in (None, before):
        if not control.listening(bundle):
            _make(log)
            return
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"conmon did not reopen {log} within {timeout:g} s: is the disk stuck?"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.02)


def _make(log: Path) -> None:
    log.touch(mode=0o600)


def _opened(pid: int) -> set[tuple[int, int]]:
    """The files that a process has open, by device and inode."""
    found = set()
    with contextlib.suppress(FileNotFoundError, PermissionError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            if identity := _identity(entry):
                found.add(identity)
    return found


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def seal(log: Path) -> None:
    """After the container's end: close lines that it left without a newline, stream by stream.

    A `F` entry without text ends a line begun by `P` entries, as the CRI log format has it.
    """
    try:
        fd = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode) and (endings := _endings(fd)):
            os.write(fd, endings)
    finally:
        os.close(fd)


def _endings(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    tail = os.pread(fd, _TAIL, max(0, size - _TAIL))
    lines = tail.split(b"\n")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000+00:00").encode()
    open_streams = [name for name in _STREAMS if _last_tag(lines, name) == b"P"]
    return b"".join(now + b" " + name + b" F \n" for name in open_streams)


def _last_tag(lines: list[bytes], stream: bytes) -> bytes:
    for line in reversed(lines):
        words = line.split(b" ", 3)
        if len(words) == 4 and words[1] == stream:
            return words[2]
    return b""
