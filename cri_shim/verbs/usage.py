"""What containers and pods use: the readers of `stats`, fed from the records."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from berth.linux.cgroups import naming
from berth.linux.cgroups.hierarchy import Cgroups
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.sandbox import Sandbox
from cri_shim.stats import network
from cri_shim.stats.detail import Detail, read_detail
from cri_shim.stats.group import Group
from cri_shim.stats.layers import Layers, measure_directory
from cri_shim.stats.metrics import POD, Sample, Subject, container_samples, pod_samples
from cri_shim.stats.reading import container_usage, count_processes, pod_usage, read_groups
from cri_shim.stats.sampler import Sampler
from cri_shim.stats.usage import (
    ContainerUsage,
    GroupUsage,
    LayerUsage,
    NetworkUsage,
    PodUsage,
)

FIRST_WALKS = 2.0
"""Seconds that samples wait for the first look at the disk use of new containers."""

log = logging.getLogger(__name__)

UsedPod = tuple[Sandbox, PodUsage, list[tuple[Container, ContainerUsage]]]


class Usage:
    """Readings on demand; CPU rates from an own sampler, disk use from a background walk."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._sampler = Sampler()
        self._layers = Layers(ctx.tasks)
        self._groups: dict[str, Group] = {}
        ctx.tasks.start(self._sampler.run(), "CPU sampler")

    async def container(self, container: Container) -> ContainerUsage | None:
        """None where it does not run. Waits for the first walk of its writable layer."""
        if container.state is not ContainerState.RUNNING:
            return None
        self._follow(container)
        # One container may be waited for; a list must not wait for hundreds of walks.
        await self._layers.get(container.id)
        return next((usage for _, usage in await self.containers([container])), None)

    async def containers(
        self, containers: Sequence[Container]
    ) -> list[tuple[Container, ContainerUsage]]:
        """Those that run; one that cannot be read is left out, and hurts no other."""
        groups = self._groups_of(containers)
        return self._used(containers, await asyncio.to_thread(read_groups, groups))

    def _groups_of(self, containers: Sequence[Container]) -> dict[str, Group]:
        """Of those that run."""
        self._forget_gone()
        running = [c for c in containers if c.state is ContainerState.RUNNING]
        for container in running:
            self._follow(container)
        return {c.id: self._groups[c.id] for c in running}

    def _used(
        self, containers: Sequence[Container], read: Mapping[str, GroupUsage]
    ) -> list[tuple[Container, ContainerUsage]]:
        found = []
        for container in containers:
            # A container that was removed while its group was read is followed no longer: the
            # sampler would begin with it anew, and keep it for ever.
            if container.id in read and container.id in self._groups:
                layer = self._layers.known(container.id)
                usage = container_usage(container.id, read[container.id], self._sampler, layer)
                found.append((container, usage))
        return found

    async def pods(self, sandboxes: Sequence[Sandbox]) -> list[UsedPod]:
        """Every pod with its usage and that of its running containers."""
        # One thread visits every pod's network namespace; to enter one and come back for each would
        # cost a thread each.
        traffic = await self._traffic(sandboxes)
        view = self._ctx.store.view
        containers = [list(view.containers_of(s.id).values()) for s in sandboxes]
        groups = self._groups_of([c for of_pod in containers for c in of_pod])
        own = [self._pod_group(sandbox) for sandbox in sandboxes]
        # With the containers' in one go: one hop to a thread for all, as the files are read in µs.
        groups.update({sandbox.id: group for sandbox, group in zip(sandboxes, own, strict=True)})
        read = await asyncio.to_thread(read_groups, groups)
        counts = await asyncio.to_thread(count_processes, own)
        found = []
        for sandbox, of_pod, count in zip(sandboxes, containers, counts, strict=True):
            used = self._used(of_pod, read)
            usages = [usage for _, usage in used]
            self._pod_group(sandbox)  # known again, if it was forgotten meanwhile, as the sampler's
            group, net = read.get(sandbox.id), traffic.get(sandbox.netns)
            usage = pod_usage(sandbox.id, group, usages, self._sampler, count, net)
            found.append((sandbox, usage, used))
        return found

    def _pod_group(self, sandbox: Sandbox) -> Group:
        group = self._groups.get(sandbox.id)
        if group is None:
            path = naming.pod_path(self._ctx.settings.driver, sandbox.cgroup)
            group = self._groups[sandbox.id] = Group(self._ctx.cgroups, path)
        return group

    async def _traffic(self, sandboxes: Sequence[Sandbox]) -> dict[str, NetworkUsage]:
        paths = [s.netns for s in sandboxes if s.netns]
        return dict(await asyncio.to_thread(network.read_all, paths))

    async def samples(self, sandboxes: Sequence[Sandbox]) -> dict[str, list[Sample]]:
        """cAdvisor-shaped series by sandbox id and container id."""
        traffic = await self._traffic(sandboxes)
        await self._first_walks(sandboxes)
        view = self._ctx.store.view
        containers = [c for s in sandboxes for c in view.containers_of(s.id).values()]
        details = await self._details(containers)
        found: dict[str, list[Sample]] = {}
        for sandbox in sandboxes:
            used = traffic.get(sandbox.netns)
            found[sandbox.id] = pod_samples(self._subject(sandbox, None), used) if used else []
            for container in view.containers_of(sandbox.id).values():
                if container.id in details:
                    subject = self._subject(sandbox, container)
                    found[container.id] = container_samples(subject, details[container.id])
        return found

    async def _first_walks(self, sandboxes: Sequence[Sandbox]) -> None:
        """Have the disk use of new containers too: a series that is missing looks like a fault."""
        view = self._ctx.store.view
        containers = [c for s in sandboxes for c in view.containers_of(s.id).values()]
        running = [c for c in containers if c.state is ContainerState.RUNNING]
        for container in running:
            self._follow(container)
        await self._layers.first_walks([c.id for c in running], FIRST_WALKS)

    async def _details(self, containers: Sequence[Container]) -> dict[str, Detail]:
        """Of those that run and can be read."""
        running = [c for c in containers if c.state is ContainerState.RUNNING]
        for container in running:
            self._follow(container)
        layers = [self._layers.known(c.id) for c in running]
        return await asyncio.to_thread(_read_details, self._ctx.cgroups, running, layers)

    def _subject(self, sandbox: Sandbox, container: Container | None) -> Subject:
        meta = sandbox.spec.metadata
        path = naming.pod_path(self._ctx.settings.driver, sandbox.cgroup)
        if container is None:
            return Subject(path, sandbox.id, "", meta.namespace, meta.name, POD)
        return Subject(
            container.cgroup,
            container.id,
            container.image_name,
            meta.namespace,
            meta.name,
            container.name,
        )

    def _follow(self, container: Container) -> None:
        """Begin to sample a container that is new to us."""
        if container.id in self._groups:
            return
        group = self._groups[container.id] = Group(self._ctx.cgroups, container.cgroup)
        # With what it has used so far: from zero, its first rate would be that of all its life.
        self._sampler.watch(container.id, group, time.monotonic_ns(), group.cpu_time() or 0)
        images, id_ = self._ctx.images, container.id
        written = str(images.written(id_))
        self._layers.add(id_, str(images.mountpoint), lambda: measure_directory(written))

    def _forget_gone(self) -> None:
        view = self._ctx.store.view
        # Every call comes here; what is gone is looked for only where there must be something.
        if len(self._groups) <= len(view.containers) + len(view.sandboxes):
            return
        for key in list(self._groups):
            if key not in view.containers and key not in view.sandboxes:
                del self._groups[key]
                self._sampler.forget(key)
                self._layers.forget(ContainerId(key))


def _read_details(
    cgroups: Cgroups, containers: Sequence[Container], layers: Sequence[LayerUsage | None]
) -> dict[str, Detail]:
    """About a millisecond for each. Blocks."""
    found: dict[str, Detail] = {}
    for container, layer in zip(containers, layers, strict=True):
        try:
            detail = read_detail(cgroups, container.cgroup, container.started_at, layer)
        except (OSError, ValueError) as error:
            log.warning("series of container %s: %s", container.id[:12], error)
            continue
        if detail is not None:
            found[container.id] = detail
    return found
