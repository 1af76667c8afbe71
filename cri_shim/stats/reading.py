"""From groups to the usage of containers and pods."""

import time
from collections.abc import Hashable, Sequence

from cri_shim.stats.group import Group, total
from cri_shim.stats.sampler import Sampler
from cri_shim.stats.usage import ContainerUsage, LayerUsage, NetworkUsage, PodUsage


def container_usage(
    key: Hashable, group: Group, sampler: Sampler, layer: LayerUsage | None = None
) -> ContainerUsage | None:
    """What a running container uses now; None where its group is gone."""
    usage = group.read()
    if usage is None:
        return None
    return ContainerUsage(usage, sampler.observe(key, time.monotonic_ns(), usage.cpu), layer)


def pod_usage(
    key: Hashable,
    group: Group | None,
    containers: Sequence[ContainerUsage],
    sampler: Sampler,
    network: NetworkUsage | None = None,
    groups: Sequence[Group] = (),
) -> PodUsage:
    """What a pod uses now.

    `group` is the pod's own, or None where it has none or shares one: then the containers are
    added up, and `groups` (theirs) tells the processes.
    """
    usage = None if group is None else group.read()
    if usage is None:
        usage = total([container.group for container in containers], time.time_ns())
    homes = [group] if group is not None else groups
    processes = sum(len(home.cgroups.processes(home.path)) for home in homes)
    rate = sampler.observe(key, time.monotonic_ns(), usage.cpu)
    return PodUsage(usage, rate, network, processes)
