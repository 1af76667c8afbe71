"""Lifecycle events to subscribers: times strictly increasing, queues bounded, drops counted."""

import asyncio
from collections.abc import AsyncIterator, Callable

from cri_shim.model.events import Event, EventType
from cri_shim.model.sandbox import Sandbox

QUEUE = 1024
"""Events one slow subscriber may be behind before its oldest are dropped."""


class Events:
    """One publisher, many subscribers; publishing never waits."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._last = 0
        self._queues: set[asyncio.Queue[Event]] = set()
        self.dropped = 0

    def publish(
        self, container_id: str, sandbox_id: str, type_: EventType, gone: Sandbox | None = None
    ) -> None:
        """Tell every subscriber; `gone` is a pod whose record is being deleted."""
        self._last = max(self._last + 1, self._clock())
        event = Event(container_id, sandbox_id, type_, self._last, gone)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
                self.dropped += 1
            queue.put_nowait(event)

    async def subscribe(self) -> AsyncIterator[Event]:
        """Events from now on, until the subscriber leaves."""
        queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)
