"""From groups to the usage of containers and pods.

Reading blocks: a few microseconds for each file, thousands of files on a crowded node. What
takes from the sampler does not, and belongs to the event loop, which the sampler lives on.
"""

import logging
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence

from cri_shim.stats.group import Group, total
from cri_shim.stats.sampler import Sampler
from cri_shim.stats.usage import ContainerUsage, GroupUsage, LayerUsage, NetworkUsage, PodUsage

log = logging.getLogger(__name__)


def read_groups(groups: Mapping[str, Group]) -> dict[str, GroupUsage]:
    """One look at each; those that are gone or cannot be read are left out. Blocks."""
    found = {}
    for key, group in groups.items():
        try:
            usage = group.read()
        except (OSError, ValueError) as error:
            log.warning("usage of %s: %s", key[:12], error)
            continue
        if usage is not None:
            found[key] = usage
    return found


def count_processes(groups: Iterable[Group]) -> list[int]:
    """How many processes are in each group and below. Blocks: it walks the groups' trees."""
    return [len(group.cgroups.processes(group.path)) for group in groups]


def container_usage(
    key: Hashable, group: GroupUsage, sampler: Sampler, layer: LayerUsage | None = None
) -> ContainerUsage:
    """What a running container uses now."""
    return ContainerUsage(group, sampler.observe(key, time.monotonic_ns(), group.cpu), layer)


def pod_usage(
    key: Hashable,
    group: GroupUsage | None,
    containers: Sequence[ContainerUsage],
    sampler: Sampler,
    processes: int = 0,
    network: NetworkUsage | None = None,
) -> PodUsage:
    """What a pod uses now. `group` is its own; None where it is gone: containers are added up."""
    if group is None:
        group = total([container.group for container in containers], time.time_ns())
    rate = sampler.observe(key, time.monotonic_ns(), group.cpu)
    return PodUsage(group, rate, network, processes)
