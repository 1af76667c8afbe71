"""Releasing what a pod held, once its processes are gone."""

from collections.abc import Collection

from nodeagent.allocator.operation import OperationRefused, Release
from nodeagent.duties.keeper import Keeper


async def release(keeper: Keeper, uid: str) -> None:
    """Give back all of an allocation, or withdraw it; nothing happens if it has ended."""
    try:
        await keeper.perform(Release(uid))
    except OperationRefused:
        return


async def release_absent(keeper: Keeper, present: Collection[str]) -> None:
    """Release every pod that holds something and is not among those present.

    Pods that wait hold nothing; whoever wants them asks again. Allocations of node.v1 clients are
    no pods and stay.
    """
    for uid in [uid for uid in keeper.books.pods if uid not in present]:
        allocation = keeper.ledger.allocations.get(uid)
        waits = allocation is not None and not allocation.held
        if keeper.books.holds(uid) and not waits:
            await release(keeper, uid)
