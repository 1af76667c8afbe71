"""The traffic of a pod that has an interface: stats and series."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim, running

IMAGE = "example.org/busybox:1"
SUBNET = "10.209.77.0/24"


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory, layout: Path, handler_settings: dict[str, str]
) -> Iterator[Shim]:
    network = {
        "network.mode": "bridge",
        "network.bridge": "berth-usage",
        "network.subnet": f'["{SUBNET}"]',
    }
    # In a network namespace of its own: the bridge and its firewall table end with it.
    inside = ("unshare", "--net", "--")
    with running(tmp_path_factory.mktemp("shim"), handler_settings | network, inside) as daemon:
        daemon.load(layout, IMAGE)
        yield daemon


def test_traffic(shim: Shim, handler: str) -> None:
    config = pods.pod_config(host_network=False)
    pod = pods.run_pod(shim, config, handler)
    container = pods.run_container(shim, pod, pods.container_config(IMAGE), config)
    gateway = str(next(ipaddress.ip_network(SUBNET).hosts()))

    def usage() -> cri.NetworkUsage:
        request = cri.PodSandboxStatsRequest(pod_sandbox_id=pod)
        found: cri.NetworkUsage = shim.runtime.PodSandboxStats(request).stats.linux.network
        return found

    before = usage().default_interface
    assert before.name == "eth0"
    pods.execute(shim, container, "ping", "-c", "1", "-s", "1000", "-W", "5", gateway)
    after = usage().default_interface
    assert after.tx_bytes.value >= before.tx_bytes.value + 1000
    assert after.rx_bytes.value >= before.rx_bytes.value + 1000
    assert (after.rx_errors.value, after.tx_errors.value) == (0, 0)
    assert series(shim, pod)["container_network_transmit_bytes_total"] >= 1000
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def series(shim: Shim, pod: str) -> dict[str, int]:
    answer = shim.runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest())
    [found] = [p for p in answer.pod_metrics if p.pod_sandbox_id == pod]
    assert all(m.label_values[-1] == "eth0" for m in found.metrics)
    return {m.name: m.value.value for m in found.metrics}
