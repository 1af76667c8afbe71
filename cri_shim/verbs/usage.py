"""What containers and pods use: the readers of `stats`, fed from the records."""

import asyncio
import logging
import time
from collections.abc import Sequence

from berth.linux.cgroups import naming
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.sandbox import Sandbox
from cri_shim.stats import network
from cri_shim.stats.detail import Detail, read_detail
from cri_shim.stats.group import Group
from cri_shim.stats.layers import Layers
from cri_shim.stats.metrics import POD, Sample, Subject, container_samples, pod_samples
from cri_shim.stats.reading import container_usage, pod_usage
from cri_shim.stats.sampler import Sampler
from cri_shim.stats.usage import ContainerUsage, NetworkUsage, PodUsage

FIRST_WALKS = 2.0
"""Seconds that samples wait for the first look at the disk use of new containers."""

log = logging.getLogger(__name__)


class Usage:
    """Readings on demand; CPU rates from an own sampler, disk use from a background walk."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._sampler = Sampler()
        self._layers = Layers(ctx.tasks)
        self._groups: dict[str, Group] = {}
        ctx.tasks.start(self._sampler.run(), "CPU sampler")

    def container(self, container: Container) -> ContainerUsage | None:
        """None where it does not run."""
        if container.state is not ContainerState.RUNNING:
            return None
        self._follow(container)
        layer = self._layers.known(container.id)
        return container_usage(container.id, self._groups[container.id], self._sampler, layer)

    async def container_with_layer(self, container: Container) -> ContainerUsage | None:
        """As `container`, waiting for the first walk of its writable layer."""
        if container.state is ContainerState.RUNNING:
            self._follow(container)
            await self._layers.get(container.id)
        return self.container(container)

    def containers(self, containers: Sequence[Container]) -> list[tuple[Container, ContainerUsage]]:
        """Those that run; one that cannot be read is left out, and hurts no other."""
        self._forget_gone()
        found = ((c, self._try(c)) for c in containers)
        return [(c, usage) for c, usage in found if usage is not None]

    def _try(self, container: Container) -> ContainerUsage | None:
        try:
            return self.container(container)
        except (OSError, ValueError) as error:
            log.warning("usage of container %s: %s", container.id[:12], error)
            return None

    async def pods(
        self, sandboxes: Sequence[Sandbox]
    ) -> list[tuple[Sandbox, PodUsage, list[tuple[Container, ContainerUsage]]]]:
        traffic = await self._traffic(sandboxes)
        return [self._pod(s, traffic.get(s.netns)) for s in sandboxes]

    def _pod(
        self, sandbox: Sandbox, traffic: NetworkUsage | None
    ) -> tuple[Sandbox, PodUsage, list[tuple[Container, ContainerUsage]]]:
        containers = self._ctx.store.view.containers_of(sandbox.id)
        used = self.containers(list(containers.values()))
        group = self._groups.get(sandbox.id)
        if group is None:
            path = naming.pod_path(self._ctx.settings.driver, sandbox.cgroup)
            group = self._groups[sandbox.id] = Group(self._ctx.cgroups, path)
        groups = [self._groups[c.id] for c, _ in used]
        usages = [usage for _, usage in used]
        usage = pod_usage(sandbox.id, group, usages, self._sampler, traffic, groups)
        return sandbox, usage, used

    async def _traffic(self, sandboxes: Sequence[Sandbox]) -> dict[str, NetworkUsage]:
        paths = [s.netns for s in sandboxes if s.netns]
        return dict(await asyncio.to_thread(network.read_all, paths))

    async def samples(self, sandboxes: Sequence[Sandbox]) -> dict[str, list[Sample]]:
        """cAdvisor-shaped series by sandbox id and container id."""
        traffic = await self._traffic(sandboxes)
        await self._settle(sandboxes)
        found: dict[str, list[Sample]] = {}
        for sandbox in sandboxes:
            used = traffic.get(sandbox.netns)
            subject = self._subject(sandbox, None)
            found[sandbox.id] = pod_samples(subject, used) if used else []
            for container in self._ctx.store.view.containers_of(sandbox.id).values():
                detail = await self._detail(container)
                if detail is not None:
                    subject = self._subject(sandbox, container)
                    found[container.id] = container_samples(subject, detail)
        return found

    async def _settle(self, sandboxes: Sequence[Sandbox]) -> None:
        """Have the disk use of new containers too: a series that is missing looks like a fault."""
        view = self._ctx.store.view
        containers = [c for s in sandboxes for c in view.containers_of(s.id).values()]
        running = [c for c in containers if c.state is ContainerState.RUNNING]
        for container in running:
            self._follow(container)
        await self._layers.settle([c.id for c in running], FIRST_WALKS)

    async def _detail(self, container: Container) -> Detail | None:
        if container.state is not ContainerState.RUNNING:
            return None
        self._follow(container)
        layer = self._layers.known(container.id)
        cgroups, started = self._ctx.cgroups, container.started_at
        try:
            return await asyncio.to_thread(read_detail, cgroups, container.cgroup, started, layer)
        except (OSError, ValueError) as error:
            log.warning("series of container %s: %s", container.id[:12], error)
            return None

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
        self._sampler.watch(container.id, group, time.monotonic_ns(), group.cpu_time() or 0)
        images, id_ = self._ctx.images, container.id
        self._layers.add(id_, str(images.mountpoint), lambda: images.writable_usage(id_))

    def _forget_gone(self) -> None:
        view = self._ctx.store.view
        if len(self._groups) <= len(view.containers) + len(view.sandboxes):
            return
        for key in list(self._groups):
            if key not in view.containers and key not in view.sandboxes:
                del self._groups[key]
                self._sampler.forget(key)
                self._layers.forget(ContainerId(key))
