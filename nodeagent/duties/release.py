"""Releasing what a pod held, once its processes are gone.

A release is the only thing that frees units, reclaimed or not: it comes from the runtime after the
pod's cgroup is empty, and what was claimed is granted in the same operation. If kill -9 of the
runtime or of the agent loses it, the next announcement makes up for it (`release_absent`).
"""

from collections.abc import Collection

from nodeagent.allocator.values.operation import OperationRefused, Release
from nodeagent.ledger.ledger import Ledger


async def release(ledger: Ledger, uid: str) -> None:
    """Release all of an allocation, or withdraw it; nothing happens if it has ended."""
    try:
        await ledger.apply(Release(uid))
    except OperationRefused:
        # There is no such allocation: the runtime repeats a release whose reply it did not get.
        return


async def release_absent(ledger: Ledger, present: Collection[str]) -> None:
    """Release every pod that holds something and is not among those present.

    Pods that wait hold nothing and expire by themselves; the runtime knows nothing of them between
    two attempts of kubelet. Allocations of node.v1 clients are no pods and stay.
    """
    # A copy: each release awaits, and pods come and go meanwhile.
    for uid in [uid for uid in ledger.state.pods if uid not in present]:
        allocation = ledger.allocator.allocations.get(uid)
        waits = allocation is not None and not allocation.held
        if ledger.state.exists(uid) and not waits:
            await release(ledger, uid)
