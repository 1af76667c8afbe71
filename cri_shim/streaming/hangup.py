"""Sees that a peer has hung up while nobody reads from it.

A paused connection is not read, so its end of file would stay behind the unread bytes. The kernel
tells of it apart (EPOLLRDHUP), which asyncio's own selector does not ask for: hence one more epoll,
itself watched by the loop.
"""

import asyncio
import select
from collections.abc import Callable


class HangupWatch:
    """Calls back once for each watched descriptor whose peer shut or reset the connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._poll)

    def watch(self, fd: int, gone: Callable[[], None]) -> None:
        """Until `unwatch`, which must come before the descriptor is closed."""
        # EPOLLHUP and EPOLLERR come unasked. One shot: the condition stays, and would wake the loop
        # without end until the connection is closed.
        self._watched[fd] = gone
        self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLONESHOT)

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._watched.clear()
        self._epoll.close()

    def _poll(self) -> None:
        for fd, _ in self._epoll.poll(0):
            if gone := self._watched.get(fd):
                gone()
