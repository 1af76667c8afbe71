"""A pod as the shim shows it: which consumer it belongs to, and what it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from berth.base.quantity import QuantityError, parse_quantity
from nodeagent.allocator.plan.consumer import Consumer
from nodeagent.allocator.plan.naming import LABEL, consumer_of
from nodeagent.allocator.requests import SYSTEM

REQUEST_PREFIX = "berth.dev/request."
NON_PREEMPTIBLE = "berth.dev/non-preemptible"
SYSTEM_NAMESPACE = "kube-system"


class PodRefused(ValueError):
    """A pod that can never enter as it is; the message says which label or annotation is wrong."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What the allocator needs of a pod.

    `requested` is in base units; `estimated` says that it comes from the pod's cgroup settings,
    which is all that CRI tells a runtime of a pod's requests. `system`: static, mirror or critical.
    """

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    requested: Mapping[str, int] = field(default_factory=dict)
    estimated: bool = True
    system: bool = False


def consumer(pod: Pod, leaves: tuple[Consumer, ...], queues: Mapping[str, str]) -> str:
    """The consumer a pod is accounted to. Raises PodRefused.

    `system` cannot be named by a pod, since its labels are its owner's.
    """
    if pod.system or pod.namespace == SYSTEM_NAMESPACE:
        return SYSTEM
    name = consumer_of(leaves, pod.labels, pod.annotations, pod.namespace, queues)
    if name is None:
        raise PodRefused(f"it names no consumer; name one by the label {LABEL}")
    if name == SYSTEM:
        raise PodRefused(f"the consumer {SYSTEM} is for static and system pods only")
    return name


def quantities(pod: Pod) -> dict[str, int]:
    """What the pod asks for: what its annotations say, else what its cgroup settings show.

    Amounts of zero are left out. Raises PodRefused naming the annotation that is no quantity.
    """
    amounts = dict(pod.requested)
    for key, text in pod.annotations.items():
        if key.startswith(REQUEST_PREFIX):
            resource = key.removeprefix(REQUEST_PREFIX)
            amounts[resource] = _annotated(key, resource, text)
    return {name: amount for name, amount in amounts.items() if amount}


def _annotated(key: str, resource: str, text: str) -> int:
    try:
        return parse_quantity(resource, text, round_up=True)
    except QuantityError as cause:
        raise PodRefused(f"annotation {key}: {cause}") from cause


def is_non_preemptible(pod: Pod) -> bool:
    """Whether the pod must never be reclaimed and so may only enter within the plan."""
    return pod.annotations.get(NON_PREEMPTIBLE, "") == "true"
