"""Which consumer a pod belongs to, by labels, annotations and namespace, and who may name it."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from nodeagent.allocator.plan.consumer import Consumer, leaves

LABEL = "berth.dev/consumer"
PATH_ANNOTATION = "berth.dev/consumer-path"
KUEUE_LABEL = "kueue.x-k8s.io/queue-name"
KOORDINATOR_LABEL = "quota.scheduling.koordinator.sh/name"
DEFAULT = "default"
"""The leaf of pods that name none, where the plan has one of that name."""


def admits(consumer: Consumer, namespace: str) -> bool:
    """Whether pods of a namespace may name a consumer; the empty namespace is the node's own.

    A pod's labels are its user's to write, so this list is what keeps a team out of another's part.
    """
    if consumer.namespaces is None or not namespace:
        return True
    return any(fnmatchcase(namespace, glob) for glob in consumer.namespaces)


def consumer_of(
    consumers: tuple[Consumer, ...],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    namespace: str,
    queues: Mapping[str, str] | None = None,
) -> str | None:
    """The leaf that a pod names; None if it names none and there is no default.

    The first that is there decides: the label, the path annotation (its last part), the Kueue queue
    by the map `queues` (queue to leaf, the same name where it is not in the map), the Koordinator
    quota, the first leaf that lists the pod's namespace, the leaf `default`. A name that is no leaf
    is returned as it is, so that the refusal can say so.
    """
    queue = labels.get(KUEUE_LABEL, "")
    # What a pod says of itself comes before its namespace, and ours before other systems' labels.
    # The queue and quota are names those systems gave, so that a cluster can adopt a plan as it is.
    named = (
        labels.get(LABEL, ""),
        annotations.get(PATH_ANNOTATION, "").rstrip("/").rpartition("/")[2],
        (queues or {}).get(queue, queue),
        labels.get(KOORDINATOR_LABEL, ""),
    )
    for name in named:
        if name:
            return name
    # Only leaves that list namespaces: the others admit every pod, and would take all of them.
    for leaf in leaves(consumers):
        if leaf.namespaces is not None and admits(leaf, namespace) and namespace:
            return leaf.name
    return DEFAULT if any(leaf.name == DEFAULT for leaf in leaves(consumers)) else None
