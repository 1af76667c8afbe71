"""Releasing what a pod held, once its processes are gone."""

from collections.abc import Collection

from nodeagent.allocator.values.operation import OperationRefused, Release
from nodeagent.ledger.ledger import Ledger


async def release(ledger: Ledger, uid: str) -> None:
    """Give back all of an allocation, or withdraw it; nothing happens if it has ended."""
    try:
        await ledger.apply(Release(uid))
    except OperationRefused:
        return


async def release_absent(ledger: Ledger, present: Collection[str]) -> None:
    """Release every pod that holds something and is not among those present.

    Pods that wait hold nothing; whoever wants them asks again. Allocations of node.v1 clients are
    no pods and stay.
    """
    for uid in [uid for uid in ledger.durable.pods if uid not in present]:
        allocation = ledger.allocator.allocations.get(uid)
        waits = allocation is not None and not allocation.held
        if ledger.durable.holds(uid) and not waits:
            await release(ledger, uid)
