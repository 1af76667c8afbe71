"""Reclaiming at the deadline: pods whose grant is forced back are stopped through the runtime.

Their units count as used until the runtime says that the pod's processes are gone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from berth.linux.tasks import Tasks
from nodeagent.allocator.usage.allocation import State
from nodeagent.allocator.values.event import EventType
from nodeagent.duties.stop import StopFailed
from nodeagent.ledger.history import Entry
from nodeagent.ledger.ledger import Ledger

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0


class Stopper(Protocol):
    """Stops a pod by its uid; False if the runtime has no such pod."""

    async def stop(self, uid: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Revocation:
    """A pod whose grant is forced back; `deadline` in milliseconds."""

    uid: str
    claimant: str
    deadline: int


class Reclaimer:
    """Stops forced pods, each in a task of its own, until they are gone."""

    def __init__(self, ledger: Ledger, stopper: Stopper, tasks: Tasks) -> None:
        self._ledger = ledger
        self._stopper = stopper
        self._tasks = tasks
        self._stopping: set[str] = set()
        ledger.listeners.append(self._hear)

    def resume(self) -> None:
        """Go on with what was being stopped when the agent ended."""
        for revocation in revocations(self._ledger):
            self._begin(revocation.uid)

    def _hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.document["type"] == EventType.FORCED.value:
                for part in entry.document["strict"]:
                    self._begin(part["id"])

    def _begin(self, uid: str) -> None:
        if uid not in self._stopping and uid in self._ledger.durable.pods:
            self._stopping.add(uid)
            self._tasks.start(self._stop(uid), f"reclaim: stop pod {uid}")

    async def _stop(self, uid: str) -> None:
        """Stop the pod, again and again until its release has come."""
        pause = _FIRST_PAUSE
        try:
            while _forced(self._ledger, uid):
                await self._attempt(uid)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._stopping.discard(uid)

    async def _attempt(self, uid: str) -> None:
        pod = self._ledger.durable.pods.get(uid, {})
        name = f"{pod.get('namespace', '?')}/{pod.get('name', uid)}"
        try:
            found = await self._stopper.stop(uid)
        except StopFailed as error:
            log.error("pod %s is due to be reclaimed and does not stop: %s", name, error)
        else:
            log.info("pod %s was stopped for its owner" if found else "pod %s has ended", name)


def _forced(ledger: Ledger, uid: str) -> bool:
    allocation = ledger.allocator.allocations.get(uid)
    return allocation is not None and allocation.state is State.STOPPING


def revocations(ledger: Ledger) -> list[Revocation]:
    """The pods being stopped now."""
    found = {}
    for pool in ledger.allocator.pools.values():
        for claim in pool.claims.values():
            claimant = ledger.allocator.allocations.get(claim.allocation)
            name = claimant.consumer if claimant is not None else ""
            for notice in claim.notices.values():
                for uid in notice.cuts:
                    if _forced(ledger, uid) and uid in ledger.durable.pods:
                        found[uid] = Revocation(uid, name, notice.deadline)
    return list(found.values())


async def watch_revocations(ledger: Ledger) -> AsyncIterator[Revocation]:
    """The pods being stopped now, then those that are going to be."""
    cursor = ledger.history.shown
    told: dict[str, Revocation] = {}
    for revocation in _untold(ledger, told):
        yield revocation
    async for entry in ledger.history.watch(cursor):
        if entry.document["type"] == EventType.FORCED.value:
            for revocation in _untold(ledger, told):
                yield revocation


def _untold(ledger: Ledger, told: dict[str, Revocation]) -> list[Revocation]:
    """What is new; a pod that was released meanwhile may be revoked again."""
    now = {revocation.uid: revocation for revocation in revocations(ledger)}
    new = [revocation for uid, revocation in now.items() if uid not in told]
    told.clear()
    told.update(now)
    return new
