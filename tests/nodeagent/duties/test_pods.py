"""Consumers and quantities of pods: what wins over what, and what a pod may not say."""

import pytest

from nodeagent.allocator.plan.consumer import Consumer
from nodeagent.duties.pods import Pod, PodRefused, consumer, is_non_preemptible, quantities

LEAVES = (
    Consumer("research", namespaces=("ml-*",)),
    Consumer("default"),
    Consumer("training"),
)
LABELLED = {"berth.dev/consumer": "labelled"}


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        (Pod("u", "ml-a", "p", LABELLED), "labelled"),
        (Pod("u", "x", "p", {}, {"berth.dev/consumer-path": "a/training"}), "training"),
        (Pod("u", "x", "p", {"kueue.x-k8s.io/queue-name": "gold"}), "paid"),
        (Pod("u", "ml-a", "p"), "research"),
        (Pod("u", "other", "p"), "default"),
        (Pod("u", "other", "p", LABELLED, system=True), "system"),
        (Pod("u", "kube-system", "p", LABELLED), "system"),
    ],
)
def test_the_consumer_of_a_pod(pod: Pod, name: str) -> None:
    assert consumer(pod, LEAVES, {"gold": "paid"}) == name


def test_no_pod_makes_itself_a_system_pod() -> None:
    with pytest.raises(PodRefused, match="static and system pods only"):
        consumer(Pod("u", "other", "p", {"berth.dev/consumer": "system"}), LEAVES, {})
    with pytest.raises(PodRefused, match=r"label berth\.dev/consumer"):
        consumer(Pod("u", "other", "p"), LEAVES[:1], {})


def test_annotations_win_over_estimates() -> None:
    annotations = {"berth.dev/request.cpu": "1.5", "berth.dev/request.nvidia.com/gpu": "2"}
    pod = Pod("u", "n", "p", annotations=annotations, requested={"cpu": 10, "memory": 5})
    assert quantities(pod) == {"cpu": 1500, "memory": 5, "nvidia.com/gpu": 2}


def test_an_annotation_of_zero_takes_a_resource_out() -> None:
    pod = Pod("u", "n", "p", annotations={"berth.dev/request.cpu": "0"}, requested={"cpu": 10})
    assert quantities(pod) == {}


def test_a_wrong_annotation_is_named() -> None:
    pod = Pod("u", "n", "p", annotations={"berth.dev/request.cpu": "much"})
    with pytest.raises(PodRefused, match=r"annotation berth\.dev/request\.cpu.*cores such as"):
        quantities(pod)


def test_firm_pods_say_so() -> None:
    assert is_non_preemptible(Pod("u", "n", "p", annotations={"berth.dev/non-preemptible": "true"}))
    assert not is_non_preemptible(Pod("u", "n", "p"))
