"""A pod as the shim shows it: which consumer it belongs to, and what it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from nodeagent.allocator.quantity import QuantityError, parse_quantity

SYSTEM = "system"
"""The consumer of pods that nobody may hold; what they use lessens the capacity."""
CONSUMER_LABEL = "berth.dev/consumer"
PATH_ANNOTATION = "berth.dev/consumer-path"
REQUEST_PREFIX = "berth.dev/request."
FIRM_ANNOTATION = "berth.dev/non-preemptible"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
QUOTA_LABEL = "quota.scheduling.koordinator.sh/name"
SYSTEM_NAMESPACE = "kube-system"


class PodRefused(ValueError):
    """A pod that can never enter as it is; the message says which label or annotation is wrong."""


@dataclass(frozen=True, slots=True)
class Pod:
    """What the allocator needs of a pod. `requested` is in base units, estimated or not."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    requested: Mapping[str, int] = field(default_factory=dict)
    estimated: bool = True
    system: bool = False


@dataclass(frozen=True, slots=True)
class Naming:
    """Which consumer a pod belongs to when it names none itself.

    `queues` maps names of Kueue local queues, `namespaces` patterns of namespaces (`ml-*`), each to
    a leaf of the plan; `default` takes the rest, empty refuses it.
    """

    default: str = "default"
    namespaces: Mapping[str, str] = field(default_factory=dict)
    queues: Mapping[str, str] = field(default_factory=dict)

    def consumer_of(self, pod: Pod) -> str:
        """The leaf a pod is accounted to; the first hit wins. Raises PodRefused.

        `system` cannot be named by a pod, since its labels are its owner's.
        """
        if pod.system or pod.namespace == SYSTEM_NAMESPACE:
            return SYSTEM
        name = self._named(pod) or self._mapped(pod) or self.default
        if not name:
            raise PodRefused(f"no consumer; name one by the label {CONSUMER_LABEL}")
        if name == SYSTEM:
            raise PodRefused(f"the consumer {SYSTEM} is for static and system pods only")
        return name

    def _named(self, pod: Pod) -> str:
        path = pod.annotations.get(PATH_ANNOTATION, "")
        return pod.labels.get(CONSUMER_LABEL, "") or path.rstrip("/").rpartition("/")[2]

    def _mapped(self, pod: Pod) -> str:
        queue = self.queues.get(pod.labels.get(QUEUE_LABEL, ""), "")
        patterns = (
            name for form, name in self.namespaces.items() if fnmatchcase(pod.namespace, form)
        )
        return queue or pod.labels.get(QUOTA_LABEL, "") or next(patterns, "")


def quantities(pod: Pod) -> dict[str, int]:
    """What the pod asks for: what its annotations say, else what its cgroup settings show.

    Raises PodRefused naming the annotation that is no quantity.
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


def is_firm(pod: Pod) -> bool:
    """Whether the pod must never be reclaimed and so may only enter within the plan."""
    return pod.annotations.get(FIRM_ANNOTATION, "") == "true"
