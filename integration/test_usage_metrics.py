"""The cAdvisor-shaped series: their descriptors, and values that fit them."""

from pathlib import Path

import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

GOLDEN = Path(__file__).parent.parent / "tests/golden/stats/cadvisor_names.txt"
ABSENT = (
    "container_blkio",
    "container_fs_reads",
    "container_fs_writes",
    "container_hugetlb",
    "container_network",
    "container_pressure",
    "container_spec_cpu_quota",
)
"""What this host, or a pod on the host's network, may have no values for."""


def descriptors(shim: Shim) -> dict[str, cri.MetricDescriptor]:
    answer = shim.runtime.ListMetricDescriptors(cri.ListMetricDescriptorsRequest())
    return {d.name: d for d in answer.descriptors}


def test_every_name_is_described(shim: Shim) -> None:
    known = {name for name in GOLDEN.read_text().split() if not name.startswith("#")}
    found = descriptors(shim)
    assert len(known) == 56
    assert set(found) == known
    assert all(d.help and len(set(d.label_keys)) == len(d.label_keys) for d in found.values())


def test_values_fit_their_descriptors(shim: Shim, image: str, handler: str) -> None:
    config = pods.pod_config("metrics-" + handler)
    pod = pods.run_pod(shim, config, handler)
    limited = pods.container_config(image, ["/bin/sh", "-c", "while :; do :; done"], name="main")
    limited.linux.resources.memory_limit_in_bytes = 64 << 20
    limited.linux.resources.cpu_quota = 50_000
    limited.linux.resources.cpu_period = 100_000
    container = pods.run_container(shim, pod, limited)
    known = descriptors(shim)
    metrics = of_container(shim, container)
    for metric in metrics:
        keys = known[metric.name].label_keys
        assert len(metric.label_values) == len(keys), metric.name
        labels = dict(zip(keys, metric.label_values, strict=True))
        assert (labels["pod"], labels["namespace"]) == (config.metadata.name, "test")
        assert (labels["container"], labels["name"]) == ("main", container)
        assert metric.timestamp > 0
    names = {m.name for m in metrics}
    assert not [n for n in set(known) - names if not n.startswith(ABSENT)]
    value = {m.name: m.value.value for m in metrics}
    assert value["container_spec_memory_limit_bytes"] == 64 << 20
    assert value["container_spec_cpu_quota"] == 50_000
    assert value["container_processes"] == 1
    assert value["container_memory_usage_bytes"] > 0
    kinds = {m.name: m.metric_type for m in metrics}
    assert kinds["container_cpu_usage_seconds_total"] == cri.COUNTER
    assert kinds["container_memory_rss"] == cri.GAUGE
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def of_container(shim: Shim, container: str) -> list[cri.Metric]:
    """Waits for the walk of the writable layer: its series come with it."""

    def metrics() -> list[cri.Metric]:
        answer = shim.runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest())
        of_pods = [c for p in answer.pod_metrics for c in p.container_metrics]
        [found] = [c for c in of_pods if c.container_id == container]
        return list(found.metrics)

    pods.until(lambda: any(m.name == "container_fs_usage_bytes" for m in metrics()), "disk use")
    return metrics()


@pytest.mark.parametrize("state", ["created", "exited"])
def test_what_does_not_run_has_no_series(shim: Shim, image: str, state: str) -> None:
    pod = pods.run_pod(shim)
    container = pods.create(shim, pod, pods.container_config(image))
    if state == "exited":
        pods.start(shim, container)
        pods.stop(shim, container)
    answer = shim.runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest())
    [found] = [p for p in answer.pod_metrics if p.pod_sandbox_id == pod]
    assert list(found.container_metrics) == []
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
