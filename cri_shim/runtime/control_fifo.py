"""conmon's control FIFO in the bundle, which takes lines of `TYPE HEIGHT WIDTH`.

conmon 2.1 mishandles two lines that it reads at once (it obeys the first one twice), so each
line is one write, and a caller waits for the effect before the next.
"""

import errno
import os
from pathlib import Path

from cri_shim.wire.conmon_packets import REOPEN_LOG_LINE, resize_line


def resize(bundle: Path, width: int, height: int) -> bool:
    """Set the size of the container's terminal in characters; False where conmon has ended."""
    return _send(bundle, resize_line(width, height))


def reopen(bundle: Path) -> bool:
    """Ask conmon to reopen its log, which it does later; False where conmon has ended."""
    return _send(bundle, REOPEN_LOG_LINE)


def listening(bundle: Path) -> bool:
    """Whether conmon still runs."""
    return _send(bundle, b"")


def _send(bundle: Path, line: bytes) -> bool:
    # Without O_NONBLOCK the open would wait for a reader, which after conmon's end never comes;
    # with it the kernel says ENXIO at once (fifo(7)).
    try:
        fd = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False  # no reader, or no fifo
        raise
    try:
        if line:
            # Shorter than PIPE_BUF: whole or not at all, whoever else writes (pipe(7)).
            os.write(fd, line)
        return True
    except BrokenPipeError:
        return False
    finally:
        os.close(fd)
