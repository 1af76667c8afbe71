"""Pseudo-terminals: taking the master from the OCI runtime, and its window size."""

import contextlib
import fcntl
import os
import socket
import struct
import termios
from pathlib import Path

from berth.base.errors import RuntimeFailure


class ConsoleSocket:
    """A listening socket that the runtime sends the master's descriptor to (SCM_RIGHTS).

    The path must fit into 107 bytes (`sun_path`, unix(7)), for the runtime connects by it: the
    scratch directory of a handler is short, a bundle's path need not be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(str(path))
            self._listener.listen(1)
            self._listener.setblocking(False)
        except OSError as error:
            self._listener.close()
            raise RuntimeFailure(f"cannot make a terminal: socket {path}: {error}") from error

    def receive(self) -> int:
        """The master, not blocking. To be called after the runtime ended well: then it is there."""
        try:
            connection, _ = self._listener.accept()
            with connection:
                connection.setblocking(False)
                _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        except BlockingIOError:
            fds = []
        if not fds:
            raise RuntimeFailure(
                "the OCI runtime made no terminal: is the process's `terminal` on?"
            )
        # A descriptor that comes by a message has no O_CLOEXEC of its own: without the second line
        # every later child of the daemon would keep the terminal open.
        os.set_blocking(fds[0], False)
        os.set_inheritable(fds[0], False)
        return fds[0]

    def close(self) -> None:
        self._listener.close()
        self.path.unlink(missing_ok=True)


def set_size(master: int, width: int, height: int) -> None:
    """Columns and rows; the processes on the terminal get SIGWINCH. Sizes fit in 16 bits."""
    # struct winsize: rows before columns, then pixels, which no terminal here knows.
    size = struct.pack("HHHH", min(height, 0xFFFF), min(width, 0xFFFF), 0, 0)
    with contextlib.suppress(OSError):  # the terminal may have just ended
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)
