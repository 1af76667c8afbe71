"""Admitting pods: asked by the runtime before a pod is made, told by it which pods run.

`admit` asks for what may be refused. `account` takes note of what runs already, which the node
cannot refuse any more: pods that began while no agent was there, or before Berth was installed.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from berth.base.quantity import Vector
from nodeagent.allocator.plan.consumer import Consumer
from nodeagent.allocator.requests import SYSTEM
from nodeagent.allocator.values.event import Answer, Verdict
from nodeagent.allocator.values.operation import OperationRefused, Request
from nodeagent.duties.pods import (
    REQUEST_PREFIX,
    Pod,
    PodRefused,
    consumer,
    is_non_preemptible,
    quantities,
)
from nodeagent.duties.release import release
from nodeagent.ledger.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The pod may enter."""

    consumer: str


@dataclass(frozen=True, slots=True)
class Held:
    """The pod must wait; `deadline` is in milliseconds. `refused`: it can never enter as it is."""

    consumer: str
    text: str
    shortage: Vector
    deadline: int | None = None
    refused: bool = False


async def admit(ledger: Ledger, pod: Pod, queues: Mapping[str, str]) -> Admitted | Held:
    """Ask the allocator. Idempotent by uid: a pod that was admitted stays so until its release.

    By uid and not by sandbox: kubelet makes another sandbox for the same pod after a failure, and
    that one needs no second grant. kubelet repeats a refused RunPodSandbox by itself, so nobody
    waits here: `Held` says when to expect more.
    """
    if ledger.state.exists(pod.uid) and pod.uid not in ledger.allocator.allocations:
        # Accounted to the system before (see `account`). Its labels name another consumer, and to
        # ask again for that one would account for the pod twice.
        return Admitted(SYSTEM)
    name = ""
    try:
        name = consumer(pod, _consumers(ledger), queues)
        request = _request(ledger, pod, name)
    except (PodRefused, OperationRefused) as error:
        return Held(name, str(error), {}, refused=True)
    applied = await ledger.apply(request, pod=_identity(pod, name))
    verdict = applied.decision.verdict
    if verdict.answer in (Answer.GRANTED, Answer.PARTIAL):
        return Admitted(name)
    return _held(name, verdict)


async def account(ledger: Ledger, pod: Pod, queues: Mapping[str, str]) -> None:
    """Account for a pod that runs already, whatever the plan says.

    What its consumer may not hold is accounted as the system's: it lessens the capacity until the
    pod is gone. To leave it out would grant its units a second time; to account it to its consumer
    would take them from another's entitlement without a claim.
    """
    if _runs(ledger, pod.uid):
        return
    if isinstance(await admit(ledger, pod, queues), Admitted):
        return
    # The refused request waits now, under the id that the system's is going to have.
    await release(ledger, pod.uid)
    vector = _known(ledger, SYSTEM, dict(pod.requested))
    try:
        await ledger.apply(Request(pod.uid, SYSTEM, vector), pod=_identity(pod, SYSTEM))
    except OperationRefused as error:
        # Such as a uid of a thousand characters. It runs, and nothing here can change that.
        log.error("pod %s/%s runs and cannot be accounted: %s", pod.namespace, pod.name, error)


def _runs(ledger: Ledger, uid: str) -> bool:
    allocation = ledger.allocator.allocations.get(uid)
    return bool(allocation.held) if allocation is not None else ledger.state.exists(uid)


def _consumers(ledger: Ledger) -> tuple[Consumer, ...]:
    """The top consumers of every group, as the windows in force have them."""
    pools = ledger.allocator.pools.values()
    return tuple(one for pool in pools for one in pool.group.windows[pool.window].consumers)


def _request(ledger: Ledger, pod: Pod, name: str) -> Request:
    vector = quantities(pod)
    # An estimate may name what the plan does not count (a node without huge pages has no such
    # resource), and that is left out. An annotation was written on purpose: its mistake is told.
    known = _known(ledger, name, vector)
    for resource in vector:
        if resource not in known and REQUEST_PREFIX + resource in pod.annotations:
            raise PodRefused(
                f"annotation {REQUEST_PREFIX}{resource}: this node has no {resource}; it has "
                + ", ".join(sorted(_resources(ledger, name)))
            )
    return Request(
        id=pod.uid,
        consumer=name,
        vector=known,
        namespace=pod.namespace,
        # The system's pods are never reclaimed, whatever they say.
        firm=is_non_preemptible(pod) and name != SYSTEM,
        # kubelet comes back by itself, with pauses of its own: what is granted meanwhile is set
        # aside for some time, and a pod that was deleted is forgotten.
        retry=True,
    )


def _known(ledger: Ledger, name: str, vector: Vector) -> dict[str, int]:
    """The part of an estimate that the consumer's group counts at all."""
    resources = _resources(ledger, name)
    return {resource: amount for resource, amount in vector.items() if resource in resources}


def _resources(ledger: Ledger, name: str) -> frozenset[str]:
    # System pods count in the first group. An unknown consumer does so here, and is refused by the
    # allocator with a message of its own.
    pools = list(ledger.allocator.pools.values())
    mine = next((pool for pool in pools if pool.tree.leaf(name) is not None), pools[0])
    return frozenset(mine.allocatable)


def _identity(pod: Pod, name: str) -> dict[str, object]:
    """What the record keeps of a pod: explanations and the reclaim of pods go by it."""
    return {
        "uid": pod.uid,
        "namespace": pod.namespace,
        "name": pod.name,
        "consumer": name,
        "estimated": pod.estimated,
    }


def _held(name: str, verdict: Verdict) -> Held:
    texts = {
        Answer.RECLAIMING: "units are being taken back from borrowers",
        Answer.EARMARKED: "units are set aside, ask again",
    }
    text = verdict.reason or texts.get(verdict.answer, "nothing is free")
    refused = verdict.answer is Answer.REFUSED
    return Held(name, text, dict(verdict.shortage or {}), verdict.deadline, refused)
