"""Reclaiming at the deadline: pods whose grant is forced back are stopped through the runtime.

    NOTICED ── deadline ──► STOPPING (event FORCED) ── released ──► gone (event FREED)
        └── claim gone before the deadline: the notice is cancelled, GRANTED again

Only the first arrow is the allocator's own; here the pod is stopped, again and again, and the
second arrow waits for the runtime's release (`release`). The two are apart on purpose. A stop that
returned is no proof: a process in uninterruptible sleep outlives SIGKILL, and a GPU that is granted
while it is still mapped fails the owner's pod. So a pod's units count as used until the runtime has
found its cgroup empty and says so; until then the claim is late, and says that too.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from berth.linux.tasks import Tasks
from nodeagent.allocator.usage.allocation import State
from nodeagent.allocator.values.event import EventType
from nodeagent.duties.stop import PodStopper, StopFailed
from nodeagent.ledger.history import Entry
from nodeagent.ledger.ledger import Ledger

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0
"""Seconds between attempts to stop a pod; each pause is twice the one before."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A pod whose grant is forced back; `deadline` in milliseconds."""

    uid: str
    claimant: str
    deadline: int


class Reclaimer:
    """Stops forced pods, each in a task of its own, until they are gone."""

    def __init__(self, ledger: Ledger, stopper: PodStopper, tasks: Tasks) -> None:
        self._ledger = ledger
        self._stopper = stopper
        self._tasks = tasks
        # One task for each pod, however many notices it is in.
        self._stopping: set[str] = set()
        ledger.listeners.append(self._on_events)

    def resume(self) -> None:
        """Go on with what was being stopped when the agent ended.

        From the state, not from events: FORCED was durable, and perhaps heard, before kill -9.
        """
        for revocation in revocations(self._ledger):
            self._start(revocation.uid)

    def _on_events(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.document["type"] == EventType.FORCED.value:
                for part in entry.document["strict"]:
                    self._start(part["id"])

    def _start(self, uid: str) -> None:
        # Allocations without a pod are clients' of berth.node.v1; those heard FORCED themselves.
        if uid not in self._stopping and uid in self._ledger.state.pods:
            self._stopping.add(uid)
            self._tasks.start(self._stop(uid), f"reclaim: stop pod {uid}")

    async def _stop(self, uid: str) -> None:
        """Stop the pod, again and again until its release has come.

        Again even after a success: the runtime may have been away when the pod's processes ended,
        and kubelet may have made another sandbox for the pod meanwhile.
        """
        pause = _FIRST_PAUSE
        try:
            while _forced(self._ledger, uid):
                await self._attempt(uid)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._stopping.discard(uid)

    async def _attempt(self, uid: str) -> None:
        pod = self._ledger.state.pods.get(uid, {})
        name = f"{pod.get('namespace', '?')}/{pod.get('name', uid)}"
        try:
            found = await self._stopper.stop(uid)
        except StopFailed as error:
            # The owner waits meanwhile and nothing else can be done here: people must look.
            log.error("pod %s is due to be reclaimed and does not stop: %s", name, error)
        else:
            log.info("pod %s was stopped for its owner" if found else "pod %s has ended", name)


def _forced(ledger: Ledger, uid: str) -> bool:
    allocation = ledger.allocator.allocations.get(uid)
    return allocation is not None and allocation.state is State.STOPPING


def revocations(ledger: Ledger) -> list[Revocation]:
    """The pods being stopped now.

    A pod may be in several notices; the last claim names it, all of them end with its release.
    """
    found = {}
    for pool in ledger.allocator.pools.values():
        for claim in pool.claims.values():
            claimant = ledger.allocator.allocations.get(claim.allocation)
            name = claimant.consumer if claimant is not None else ""
            for notice in claim.notices.values():
                for uid in notice.cuts:
                    if _forced(ledger, uid) and uid in ledger.state.pods:
                        found[uid] = Revocation(uid, name, notice.deadline)
    return list(found.values())


async def watch_revocations(ledger: Ledger) -> AsyncIterator[Revocation]:
    """The pods being stopped now, then those that are going to be."""
    # The cursor first: what is forced between the two is then found twice, and sent once.
    cursor = ledger.history.durable
    sent: set[str] = set()
    for revocation in _unsent(ledger, sent):
        yield revocation
    async for entry in ledger.history.watch(cursor):
        if entry.document["type"] == EventType.FORCED.value:
            for revocation in _unsent(ledger, sent):
                yield revocation


def _unsent(ledger: Ledger, sent: set[str]) -> list[Revocation]:
    """What is new since the last call, and from now on counts as sent.

    A pod that was released meanwhile is forgotten: it may be admitted and revoked again.
    """
    now = {revocation.uid: revocation for revocation in revocations(ledger)}
    new = [revocation for uid, revocation in now.items() if uid not in sent]
    sent.clear()
    sent.update(now)
    return new
