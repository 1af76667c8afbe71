"""The calls of runtime.v1.RuntimeService about usage: stats and cAdvisor-shaped metrics.

Entries of lists are encoded one by one, in a thread: the metrics of 200 containers are 10,000
messages, a tenth of a second on the event loop. One after another their encodings are that of the
whole list, and of a streamed part as well: in each of these responses the list is field 1.
"""

import asyncio
from collections.abc import AsyncIterator

from berth.pb import runtime_v1_pb2 as cri
from cri_shim.api import encode_stats as encode
from cri_shim.api.messages import chunks, required
from cri_shim.context import Context
from cri_shim.model.sandbox import Sandbox
from cri_shim.stats.metrics import DESCRIPTORS
from cri_shim.verbs import queries
from cri_shim.verbs.usage import Usage


class UsageService:
    """Method names are the protocol's."""

    def __init__(self, ctx: Context, usage: Usage) -> None:
        self._ctx = ctx
        self._usage = usage
        self._entries = encode.Entries()

    async def ContainerStats(
        self, request: cri.ContainerStatsRequest
    ) -> cri.ContainerStatsResponse:
        id_ = required(request.container_id, "container_id")
        container = queries.container(self._ctx.store.view, id_)
        usage = await self._usage.container(container)
        return cri.ContainerStatsResponse(stats=encode.container_stats(container, usage))

    async def ListContainerStats(self, request: cri.ListContainerStatsRequest) -> bytes:
        return b"".join(await self._container_stats(request.filter))

    async def StreamContainerStats(
        self, request: cri.StreamContainerStatsRequest
    ) -> AsyncIterator[bytes]:
        for part in chunks(await self._container_stats(request.filter)):
            yield b"".join(part)

    async def _container_stats(self, filter_: cri.ContainerStatsFilter) -> list[bytes]:
        view = self._ctx.store.view
        found = queries.containers(
            view, filter_.id, filter_.pod_sandbox_id, labels=filter_.label_selector
        )
        # Here and not where a container goes: nobody has to tell the edge of it.
        self._entries.prune(view.containers.keys())
        return self._entries.encode(await self._usage.containers(found))

    async def PodSandboxStats(
        self, request: cri.PodSandboxStatsRequest
    ) -> cri.PodSandboxStatsResponse:
        id_ = required(request.pod_sandbox_id, "pod_sandbox_id")
        sandbox = queries.sandbox(self._ctx.store.view, id_)
        [used] = await self._usage.pods([sandbox])
        return cri.PodSandboxStatsResponse(stats=encode.sandbox_stats(*used))

    async def ListPodSandboxStats(self, request: cri.ListPodSandboxStatsRequest) -> bytes:
        return b"".join(await self._sandbox_stats(request.filter))

    async def StreamPodSandboxStats(
        self, request: cri.StreamPodSandboxStatsRequest
    ) -> AsyncIterator[bytes]:
        for part in chunks(await self._sandbox_stats(request.filter)):
            yield b"".join(part)

    def _ready(self, filter_: cri.PodSandboxStatsFilter) -> list[Sandbox]:
        view = self._ctx.store.view
        return queries.sandboxes(view, filter_.id, True, filter_.label_selector)

    async def _sandbox_stats(self, filter_: cri.PodSandboxStatsFilter) -> list[bytes]:
        used = await self._usage.pods(self._ready(filter_))
        return await asyncio.to_thread(lambda: [encode.sandbox_stats_entry(*one) for one in used])

    async def ListMetricDescriptors(
        self, request: cri.ListMetricDescriptorsRequest
    ) -> cri.ListMetricDescriptorsResponse:
        return cri.ListMetricDescriptorsResponse(
            descriptors=[encode.descriptor(d) for d in DESCRIPTORS]
        )

    async def ListPodSandboxMetrics(self, request: cri.ListPodSandboxMetricsRequest) -> bytes:
        return b"".join(await self._metrics())

    async def StreamPodSandboxMetrics(
        self, request: cri.StreamPodSandboxMetricsRequest
    ) -> AsyncIterator[bytes]:
        for part in chunks(await self._metrics()):
            yield b"".join(part)

    async def _metrics(self) -> list[bytes]:
        view = self._ctx.store.view
        # Ready ones: a stopped pod's series would stay flat for as long as its record is kept.
        sandboxes = queries.sandboxes(view, ready=True)
        samples = await self._usage.samples(sandboxes)
        pods = [(s, [c for c in view.containers_of(s.id) if c in samples]) for s in sandboxes]
        return await asyncio.to_thread(
            lambda: [encode.metrics_entry(s, containers, samples) for s, containers in pods]
        )
