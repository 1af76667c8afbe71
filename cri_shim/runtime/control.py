"""conmon's control fifo in the bundle: lines of `TYPE HEIGHT WIDTH`.

conmon 2.1 mishandles two lines that it reads at once (it obeys the first one twice), so each
line is one write, and a caller waits for the effect before the next.
"""

import errno
import os
from pathlib import Path

_RESIZE = 1
_REOPEN = 2


def resize(bundle: Path, width: int, height: int) -> bool:
    """Set the size of the container's terminal; False where conmon has ended."""
    return _send(bundle, f"{_RESIZE} {height} {width}\n")


def reopen(bundle: Path) -> bool:
    """Ask conmon to reopen its log, which it does later; False where conmon has ended."""
    return _send(bundle, f"{_REOPEN} 0 0\n")


def listening(bundle: Path) -> bool:
    """Whether conmon still runs."""
    return _send(bundle, "")


def _send(bundle: Path, line: str) -> bool:
    try:
        fd = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False  # no reader, or no fifo
        raise
    try:
        if line:
            os.write(fd, line.encode())
        return True
    except BrokenPipeError:
        return False
    finally:
        os.close(fd)
