"""What plugins are told about the pod: arguments, and the runtime configuration they ask for."""

from collections.abc import Callable, Mapping
from typing import Any

from cri_shim.network import bandwidth
from cri_shim.network.pod import PodNet

_BURST_BITS = 2**31 - 1
"""Kubernetes gives no burst; the largest keeps the plugin's bucket from being the limit."""


def arguments(pod: PodNet) -> str:
    """CNI_ARGS as every Kubernetes runtime gives them."""
    pairs = {
        "IgnoreUnknown": "1",
        "K8S_POD_NAMESPACE": pod.namespace,
        "K8S_POD_NAME": pod.name,
        "K8S_POD_INFRA_CONTAINER_ID": pod.sandbox_id,
        "K8S_POD_UID": pod.uid,
    }
    return ";".join(f"{key}={value}" for key, value in pairs.items())


def runtime_config(pod: PodNet) -> dict[str, Any]:
    """Everything a plugin of this pod may ask for, by capability; empty ones are left out."""
    config = {name: tell(pod) for name, tell in _TELL.items()}
    return {name: value for name, value in config.items() if value}


def _port_mappings(pod: PodNet) -> list[dict[str, Any]]:
    return [
        {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol.name.lower(),
            "hostIP": port.host_ip,
        }
        for port in pod.published
    ]


def _bandwidth(pod: PodNet) -> dict[str, int]:
    """Bits per second."""
    rates = bandwidth.of(pod.annotations)
    config: dict[str, int] = {}
    for name, rate in (("ingress", rates.ingress), ("egress", rates.egress)):
        if rate:
            config |= {f"{name}Rate": rate, f"{name}Burst": _BURST_BITS}
    return config


def _dns(pod: PodNet) -> dict[str, list[str]]:
    if pod.dns is None:
        return {}
    return {
        "servers": list(pod.dns.servers),
        "searches": list(pod.dns.searches),
        "options": list(pod.dns.options),
    }


# The well-known capabilities (containernetworking/cni, CONVENTIONS.md).
_TELL: Mapping[str, Callable[[PodNet], Any]] = {
    "portMappings": _port_mappings,
    "bandwidth": _bandwidth,
    "dns": _dns,
    "cgroupPath": lambda pod: pod.cgroup_parent,
    "io.kubernetes.cri.pod-annotations": lambda pod: dict(pod.annotations),
}
