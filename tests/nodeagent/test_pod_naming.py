"""Consumers and quantities of pods: what wins over what, and what a pod may not say."""

import pytest

from nodeagent.duties.pods import Naming, Pod, PodRefused, is_firm, quantities

NAMING = Naming("rest", {"ml-*": "research", "*-dev": "dev"}, {"gold": "paid"})
LABEL = {"berth.dev/consumer": "labelled"}
PATH = {"berth.dev/consumer-path": "research/training"}
QUEUE = {"kueue.x-k8s.io/queue-name": "gold"}
QUOTA = {"quota.scheduling.koordinator.sh/name": "quoted"}


@pytest.mark.parametrize(
    ("pod", "consumer"),
    [
        (Pod("u", "ml-a", "p", {**LABEL, **QUEUE, **QUOTA}, PATH), "labelled"),
        (Pod("u", "ml-a", "p", {**QUEUE, **QUOTA}, PATH), "training"),
        (Pod("u", "ml-a", "p", {**QUEUE, **QUOTA}), "paid"),
        (Pod("u", "ml-a", "p", QUOTA), "quoted"),
        (Pod("u", "ml-a-dev", "p"), "research"),
        (Pod("u", "x-dev", "p"), "dev"),
        (Pod("u", "other", "p"), "rest"),
        (Pod("u", "other", "p", LABEL, system=True), "system"),
        (Pod("u", "kube-system", "p", LABEL), "system"),
    ],
)
def test_the_first_hit_wins(pod: Pod, consumer: str) -> None:
    assert NAMING.consumer_of(pod) == consumer


def test_no_pod_makes_itself_a_system_pod() -> None:
    with pytest.raises(PodRefused, match="static and system pods only"):
        NAMING.consumer_of(Pod("u", "other", "p", {"berth.dev/consumer": "system"}))
    with pytest.raises(PodRefused, match=r"label berth\.dev/consumer"):
        Naming(default="").consumer_of(Pod("u", "other", "p"))


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
    assert is_firm(Pod("u", "n", "p", annotations={"berth.dev/non-preemptible": "true"}))
    assert not is_firm(Pod("u", "n", "p"))
