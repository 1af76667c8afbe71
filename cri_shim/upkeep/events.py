"""Lifecycle events to subscribers: times strictly increasing, queues bounded, drops counted.

An event carries the records as they were when it happened. The kubelet throws away an event
without a pod's status (kubelet pleg/evented.go), so none is published without one.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

from cri_shim.model.events import Event, EventType
from cri_shim.model.ids import SandboxId
from cri_shim.model.sandbox import Sandbox
from cri_shim.store.store import Store
from cri_shim.store.view import shown_container

QUEUE = 1024
"""Events one slow subscriber may be behind before its oldest are dropped."""


class Events:
    """One publisher, many subscribers; publishing never waits."""

    def __init__(self, clock: Callable[[], int], store: Store) -> None:
        self._clock = clock
        self._store = store
        self._last = 0
        self._subscriptions: set[Subscription] = set()
        self.dropped = 0
        """Events that subscribers were too slow for, since the start."""

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    def publish(
        self, container_id: str, sandbox_id: str, type_: EventType, gone: Sandbox | None = None
    ) -> None:
        """Tell every subscriber; `gone` is a pod whose record has just been deleted."""
        # kubelet keeps the newest state of a pod by these times (kubelet container/cache.go), and a
        # wall clock may stand still between two events, or be set back.
        self._last = max(self._last + 1, self._clock())
        view = self._store.view
        sandbox = gone or view.sandboxes.get(SandboxId(sandbox_id))
        if sandbox is None or not self._subscriptions:
            return
        records = view.containers_of(sandbox.id).values()
        shown = tuple(container for container in records if shown_container(container))
        # Made once for all: the records are immutable, so subscribers can share them.
        event = Event(container_id, type_, self._last, sandbox, shown)
        for subscription in self._subscriptions:
            self.dropped += subscription.put(event)

    def subscribe(self) -> "Subscription":
        """Events from now on; leave the context to end it."""
        return Subscription(self._subscriptions)


class Subscription:
    """A bounded queue of one subscriber, known to the publisher until it is closed."""

    def __init__(self, known: "set[Subscription]") -> None:
        self._known = known
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE)
        known.add(self)

    def put(self, event: Event) -> int:
        """Append; returns how many older events were dropped for it (0 or 1)."""
        # The oldest goes, not the newest: kubelet lists everything again every few minutes, and
        # until then a recent state is worth more than an old one.
        full = self._queue.full()
        if full:
            self._queue.get_nowait()
        self._queue.put_nowait(event)
        return int(full)

    async def next(self) -> Event:
        """The oldest event not taken yet; waits for one."""
        return await self._queue.get()

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._known.discard(self)
