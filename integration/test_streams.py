"""The Stream* lists say the same as the lists, in pieces, also for more than one piece."""

import concurrent.futures
from collections.abc import Iterator
from typing import Any

import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

MANY = 102
"""More than a piece holds (100)."""


@pytest.fixture(scope="module")
def crowd(shim: Shim, image: str) -> list[str]:
    """Many pods; one of them has many created containers and a running one."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(lambda n: pods.run_pod(shim, labelled(n)), range(MANY)))
        first = ids[0]
        list(pool.map(lambda n: pods.create(shim, first, container(image, n)), range(MANY)))
    pods.run_container(shim, first, pods.container_config(image, name="runs"))
    return ids


def labelled(number: int) -> cri.PodSandboxConfig:
    return pods.pod_config(f"crowd-{number}", labels={"even": str(number % 2 == 0)})


def container(image: str, number: int) -> cri.ContainerConfig:
    return pods.container_config(image, name=f"c{number}", labels={"even": str(number % 2 == 0)})


def merged(pieces: Iterator[Any], field: str) -> tuple[list[Any], int]:
    messages = list(pieces)
    return [entry for piece in messages for entry in getattr(piece, field)], len(messages)


def by_id(entries: Any) -> list[Any]:
    return sorted(entries, key=lambda entry: str(entry.id))


def test_pods(shim: Shim, crowd: list[str]) -> None:
    whole = shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items
    stream = shim.runtime.StreamPodSandboxes(cri.StreamPodSandboxesRequest())
    found, pieces = merged(stream, "pod_sandboxes")
    assert by_id(found) == by_id(whole)
    assert (len(found), pieces) == (MANY, 2)


def test_pods_by_filter(shim: Shim, crowd: list[str]) -> None:
    for filter_ in (
        cri.PodSandboxFilter(label_selector={"even": "True"}),
        cri.PodSandboxFilter(id=crowd[3]),
        cri.PodSandboxFilter(state=cri.PodSandboxStateValue(state=cri.SANDBOX_NOTREADY)),
    ):
        whole = shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest(filter=filter_)).items
        request = cri.StreamPodSandboxesRequest(filter=filter_)
        found, _ = merged(shim.runtime.StreamPodSandboxes(request), "pod_sandboxes")
        assert by_id(found) == by_id(whole)


def test_containers(shim: Shim, crowd: list[str]) -> None:
    whole = shim.runtime.ListContainers(cri.ListContainersRequest()).containers
    stream = shim.runtime.StreamContainers(cri.StreamContainersRequest())
    found, pieces = merged(stream, "containers")
    assert by_id(found) == by_id(whole)
    assert (len(found), pieces) == (MANY + 1, 2)


def test_containers_by_filter(shim: Shim, crowd: list[str]) -> None:
    for filter_, count in (
        (cri.ContainerFilter(label_selector={"even": "True"}), MANY // 2),
        (cri.ContainerFilter(pod_sandbox_id=crowd[1]), 0),
        (cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_RUNNING)), 1),
    ):
        whole = shim.runtime.ListContainers(cri.ListContainersRequest(filter=filter_)).containers
        request = cri.StreamContainersRequest(filter=filter_)
        found, _ = merged(shim.runtime.StreamContainers(request), "containers")
        assert by_id(found) == by_id(whole)
        assert len(found) == count


def attributes(stats: Any) -> list[Any]:
    """What does not move from one reading to the next."""
    return sorted((s.attributes for s in stats), key=lambda a: str(a.id))


def test_container_stats(shim: Shim, crowd: list[str]) -> None:
    whole = shim.runtime.ListContainerStats(cri.ListContainerStatsRequest()).stats
    stream = shim.runtime.StreamContainerStats(cri.StreamContainerStatsRequest())
    found, _ = merged(stream, "container_stats")
    assert attributes(found) == attributes(whole)
    assert len(found) == 1


def test_pod_stats(shim: Shim, crowd: list[str]) -> None:
    whole = shim.runtime.ListPodSandboxStats(cri.ListPodSandboxStatsRequest()).stats
    stream = shim.runtime.StreamPodSandboxStats(cri.StreamPodSandboxStatsRequest())
    found, pieces = merged(stream, "pod_sandbox_stats")
    assert attributes(found) == attributes(whole)
    assert (len(found), pieces) == (MANY, 2)


def test_pod_metrics(shim: Shim, crowd: list[str]) -> None:
    whole = shim.runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest()).pod_metrics
    stream = shim.runtime.StreamPodSandboxMetrics(cri.StreamPodSandboxMetricsRequest())
    found, pieces = merged(stream, "pod_sandbox_metrics")
    names = [[m.name for c in p.container_metrics for m in c.metrics] for p in whole]
    again = [[m.name for c in p.container_metrics for m in c.metrics] for p in found]
    assert names == again
    assert [p.pod_sandbox_id for p in found] == [p.pod_sandbox_id for p in whole]
    assert (len(found), pieces) == (MANY, 2)


def test_images(shim: Shim, crowd: list[str]) -> None:
    whole = shim.images.ListImages(cri.ListImagesRequest()).images
    found, _ = merged(shim.images.StreamImages(cri.StreamImagesRequest()), "images")
    assert by_id(found) == by_id(whole)
    assert len(found) == 1


def test_nothing_to_list(shim: Shim) -> None:
    filter_ = cri.ContainerFilter(id="none")
    assert not list(shim.runtime.StreamContainers(cri.StreamContainersRequest(filter=filter_)))
