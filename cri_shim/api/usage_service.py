"""The calls of runtime.v1.RuntimeService about usage: stats and cAdvisor-shaped metrics."""

from collections.abc import AsyncIterator, Sequence

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
        usage = await self._usage.container_with_layer(container)
        return cri.ContainerStatsResponse(stats=encode.container_stats(container, usage))

    async def ListContainerStats(self, request: cri.ListContainerStatsRequest) -> bytes:
        return b"".join(self._container_stats(request.filter))

    async def StreamContainerStats(
        self, request: cri.StreamContainerStatsRequest
    ) -> AsyncIterator[bytes]:
        for part in chunks(self._container_stats(request.filter)):
            yield b"".join(part)

    def _container_stats(self, filter_: cri.ContainerStatsFilter) -> list[bytes]:
        view = self._ctx.store.view
        found = queries.containers(
            view, filter_.id, filter_.pod_sandbox_id, labels=filter_.label_selector
        )
        self._entries.prune(view.containers.keys())
        return self._entries.encode(self._usage.containers(found))

    async def PodSandboxStats(
        self, request: cri.PodSandboxStatsRequest
    ) -> cri.PodSandboxStatsResponse:
        id_ = required(request.pod_sandbox_id, "pod_sandbox_id")
        sandbox = queries.sandbox(self._ctx.store.view, id_)
        [stats] = await self._sandbox_stats([sandbox])
        return cri.PodSandboxStatsResponse(stats=stats)

    async def ListPodSandboxStats(
        self, request: cri.ListPodSandboxStatsRequest
    ) -> cri.ListPodSandboxStatsResponse:
        found = self._ready(request.filter)
        return cri.ListPodSandboxStatsResponse(stats=await self._sandbox_stats(found))

    async def StreamPodSandboxStats(
        self, request: cri.StreamPodSandboxStatsRequest
    ) -> AsyncIterator[cri.StreamPodSandboxStatsResponse]:
        for part in chunks(await self._sandbox_stats(self._ready(request.filter))):
            yield cri.StreamPodSandboxStatsResponse(pod_sandbox_stats=part)

    def _ready(self, filter_: cri.PodSandboxStatsFilter) -> list[Sandbox]:
        view = self._ctx.store.view
        return queries.sandboxes(view, filter_.id, True, filter_.label_selector)

    async def _sandbox_stats(self, sandboxes: Sequence[Sandbox]) -> list[cri.PodSandboxStats]:
        return [
            encode.sandbox_stats(sandbox, usage, containers)
            for sandbox, usage, containers in await self._usage.pods(sandboxes)
        ]

    async def ListMetricDescriptors(
        self, request: cri.ListMetricDescriptorsRequest
    ) -> cri.ListMetricDescriptorsResponse:
        return cri.ListMetricDescriptorsResponse(
            descriptors=[encode.descriptor(d) for d in DESCRIPTORS]
        )

    async def ListPodSandboxMetrics(
        self, request: cri.ListPodSandboxMetricsRequest
    ) -> cri.ListPodSandboxMetricsResponse:
        return cri.ListPodSandboxMetricsResponse(pod_metrics=await self._metrics())

    async def StreamPodSandboxMetrics(
        self, request: cri.StreamPodSandboxMetricsRequest
    ) -> AsyncIterator[cri.StreamPodSandboxMetricsResponse]:
        for part in chunks(await self._metrics()):
            yield cri.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=part)

    async def _metrics(self) -> list[cri.PodSandboxMetrics]:
        view = self._ctx.store.view
        sandboxes = queries.sandboxes(view, ready=True)
        samples = await self._usage.samples(sandboxes)
        return [
            cri.PodSandboxMetrics(
                pod_sandbox_id=sandbox.id,
                metrics=[encode.metric(s) for s in samples.get(sandbox.id, ())],
                container_metrics=[
                    cri.ContainerMetrics(
                        container_id=id_, metrics=[encode.metric(s) for s in samples[id_]]
                    )
                    for id_ in view.containers_of(sandbox.id)
                    if id_ in samples
                ],
            )
            for sandbox in sandboxes
        ]
