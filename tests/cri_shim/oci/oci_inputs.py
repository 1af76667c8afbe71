"""Specs and facts for the tests: an ordinary pod on an ordinary host."""

from dataclasses import replace
from typing import Any

from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import ContainerSpec, ProcessUser
from cri_shim.model.image import ImageConfig
from cri_shim.oci.capabilities import known
from cri_shim.oci.facts import (
    CgroupFacts,
    DeviceNode,
    Facts,
    Layout,
    PodFiles,
    PodNamespaces,
    ResolvedDevice,
    ResolvedMount,
    RuntimeFeatures,
)

V1 = CgroupFacts(layout=Layout.V1, hugepage_sizes=frozenset({"2MB", "1GB"}))
V2 = CgroupFacts(layout=Layout.V2, hugepage_sizes=frozenset({"2MB", "1GB"}))

FACTS = Facts(
    rootfs="/run/berth/containers/c1/rootfs",
    image=ImageConfig(
        entrypoint=("/docker-entrypoint.sh",),
        cmd=("nginx", "-g", "daemon off;"),
        env=("PATH=/usr/sbin:/usr/bin", "NGINX=1.25"),
        working_dir="/srv",
    ),
    user=ProcessUser(0, 0, (0,)),
    cgroups_path="/kubepods/pod1/c1",
    capabilities=known(40),
    known_capabilities=known(40),
    cgroup=V2,
    namespaces=PodNamespaces("/ns/net", "/ns/ipc", "/ns/uts", "/ns/pid", "/ns/user"),
    hostname="web-0",
    files=PodFiles("", "/pod/resolv.conf", "/pod/hostname", "/pod/shm"),
    features=RuntimeFeatures(True, True, True),
    kernel=(6, 18),
)


def config() -> cri.ContainerConfig:
    """The least that CreateContainer takes, with its own PID namespace."""
    message = cri.ContainerConfig()
    message.metadata.name = "main"
    message.image.image = "nginx"
    message.linux.security_context.namespace_options.pid = cri.CONTAINER
    return message


def spec(message: cri.ContainerConfig | None = None, **changes: Any) -> ContainerSpec:
    return replace(ContainerSpec.from_cri(message or config()), **changes)


def resolved(spec: ContainerSpec, facts: Facts = FACTS, **changes: Any) -> Facts:
    """Facts in which everything that the spec names was found, on shared mounts."""
    found = replace(
        facts,
        mounts=tuple(
            ResolvedMount(m, m.host_path or f"/images/{m.image}", propagation="shared")
            for m in spec.mounts
        ),
        devices=tuple(
            ResolvedDevice(d, (DeviceNode(d.host_path, "c", 10, 229, 0o666),)) for d in spec.devices
        ),
    )
    return replace(found, **changes)
