"""The CRI log that conmon writes: following a rotation, and ending a line that was cut off.

conmon tags what has no newline yet as P(artial), in pieces of up to 8 KiB, and leaves it so where
the container ends; readers then wait for the rest of the line.
"""

import asyncio
import contextlib
import glob
import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

from berth.base.errors import DeadlineExceeded
from cri_shim.runtime import control_fifo

_TAIL = 1 << 16
"""Bytes read from the end: more than any entry has (8 KiB of text), for both streams together."""
_STREAMS = (b"stdout", b"stderr")


async def reopen_log(bundle: Path, log: Path, conmon_pid: int, timeout: float = 10.0) -> None:
    """Make conmon go on in a new file at `log`; returns when it has.

    For a rotation: the old file was renamed before. Where it was not, it stays and nothing is
    lost. Where conmon has ended, a missing file is made, empty. DeadlineExceeded after `timeout`
    seconds.
    """
    before = _identity(log)
    # Not rotated: a reopen would rename LOG.tmp over the file and lose what is in it.
    if before is not None and before in _opened(conmon_pid):
        return
    if not control_fifo.reopen(bundle):
        _make(log)
        return
    # conmon opens LOG.tmp and renames it: the name's new inode is the sign that it is done.
    deadline = time.monotonic() + timeout
    pause = 0.0005
    # Polled: conmon sends no reply. Usually it is done before the second look.
    while _identity(log) in (None, before):
        if not control_fifo.listening(bundle):
            _make(log)
            return
        if time.monotonic() > deadline:
            raise DeadlineExceeded(
                f"conmon did not reopen {log} within {timeout:g} s: is the disk stuck?"
            )
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.02)


def _make(log: Path) -> None:
    # The kubelet's rotation counts as failed where no new file is there, and is tried again.
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

    A `F` entry without text ends a line begun by `P` entries, as the CRI log format has it. The
    line may have begun in a file that was rotated away just before, to `LOG.SUFFIX` as the kubelet
    does it; where no new file was made since, the entry goes there.
    """
    # The log is opened before the rotated one is looked for: a rotation between the two is seen.
    fd = _open(log, os.O_RDWR | os.O_APPEND)
    rotated = _newest_rotated(log)
    if fd is None and rotated is not None:
        fd, rotated = _open(rotated, os.O_RDWR | os.O_APPEND), None
    if fd is not None:
        _seal(fd, rotated)


def _newest_rotated(log: Path) -> Path | None:
    """The kubelet compresses all but the newest; LOG.tmp is conmon's."""
    found = []
    for path in log.parent.glob(f"{glob.escape(log.name)}.*"):
        if path.suffix not in (".gz", ".tmp"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.lstat().st_mtime_ns, path))
    return max(found)[1] if found else None


def _seal(fd: int, before: Path | None) -> None:
    """Seal an open file, which goes on where `before` ended, and close it."""
    # O_APPEND, and one write: readers that follow the file see whole entries.
    try:
        if endings := b"".join(map(_ending, _cut_off(fd, before))):
            os.write(fd, endings)
    finally:
        os.close(fd)


def _open(log: Path, flags: int) -> int | None:
    """A descriptor of a regular file and nothing else: users may write into the directory.

    O_NOFOLLOW against a link to a file of the host, O_NONBLOCK against a FIFO that would block the
    open for ever.
    """
    try:
        fd = os.open(log, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _cut_off(fd: int, before: Path | None) -> list[bytes]:
    """The streams whose last entry is a `P`."""
    tail, whole = _tail(fd)
    tags = {stream: _last_tag(tail, stream) for stream in _STREAMS}
    # A stream without an entry here may have begun its line in the file before.
    if whole and before is not None and not all(tags.values()):
        earlier = _open(before, os.O_RDONLY)
        if earlier is not None:
            lines, _ = _tail(earlier)
            os.close(earlier)
            tags = {stream: tag or _last_tag(lines, stream) for stream, tag in tags.items()}
    return [stream for stream, tag in tags.items() if tag == b"P"]


def _ending(stream: bytes) -> bytes:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000+00:00").encode()
    return now + b" " + stream + b" F \n"


def _tail(fd: int) -> tuple[list[bytes], bool]:
    """The file's last lines, and whether they are all of it."""
    size = os.fstat(fd).st_size
    return os.pread(fd, _TAIL, max(0, size - _TAIL)).split(b"\n"), size <= _TAIL


def _last_tag(lines: list[bytes], stream: bytes) -> bytes:
    for line in reversed(lines):
        parts = line.split(b" ", 3)
        if len(parts) == 4 and parts[1] == stream:
            return parts[2]
    return b""
