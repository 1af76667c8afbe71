"""runtime.v1.RuntimeService: each call decodes, runs one verb, encodes."""

import json

from google.protobuf.json_format import MessageToJson

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.api import encode, messages
from cri_shim.api.messages import required
from cri_shim.api.status import Status
from cri_shim.checkpoint import dump, restore
from cri_shim.context import Context
from cri_shim.model.container import ContainerSpec
from cri_shim.model.resources import LinuxResources
from cri_shim.model.sandbox import SandboxSpec
from cri_shim.verbs import queries
from cri_shim.verbs.create_container import create_container
from cri_shim.verbs.exec_sync import exec_sync
from cri_shim.verbs.remove_container import remove_container
from cri_shim.verbs.remove_sandbox import remove_sandbox
from cri_shim.verbs.reopen_log import reopen_log
from cri_shim.verbs.run_sandbox import run_sandbox
from cri_shim.verbs.start_container import start_container
from cri_shim.verbs.stop_container import stop_container
from cri_shim.verbs.stop_sandbox import stop_sandbox
from cri_shim.verbs.update_resources import update_container, update_sandbox


class RuntimeService:
    """Method names are the protocol's; gRPC returns UNIMPLEMENTED for one that is absent."""

    def __init__(self, ctx: Context, status: Status) -> None:
        self._ctx = ctx
        self._status = status
        self._cache = encode.Cache()

    async def Version(self, request: cri.VersionRequest) -> cri.VersionResponse:
        return self._status.version()

    async def Status(self, request: cri.StatusRequest) -> cri.StatusResponse:
        return self._status.status(request.verbose)

    async def RuntimeConfig(self, request: cri.RuntimeConfigRequest) -> cri.RuntimeConfigResponse:
        return self._status.runtime_config()

    async def UpdateRuntimeConfig(
        self, request: cri.UpdateRuntimeConfigRequest
    ) -> cri.UpdateRuntimeConfigResponse:
        # From the Node object, once the control plane has given the node a range. A network whose
        # ranges are configured on this host does not use it.
        if cidr := request.runtime_config.network_config.pod_cidr:
            await self._ctx.network.use_pod_cidr(cidr)
        return cri.UpdateRuntimeConfigResponse()

    async def RunPodSandbox(self, request: cri.RunPodSandboxRequest) -> cri.RunPodSandboxResponse:
        # The message is kept as it came: Status returns parts of it, and after a restart the spec
        # is decoded from it again, so that there is one way from CRI to a spec.
        spec = SandboxSpec.from_cri(request.config, request.runtime_handler)
        id_ = await run_sandbox(self._ctx, spec, request.config.SerializeToString())
        return cri.RunPodSandboxResponse(pod_sandbox_id=id_)

    async def StopPodSandbox(
        self, request: cri.StopPodSandboxRequest
    ) -> cri.StopPodSandboxResponse:
        await stop_sandbox(self._ctx, required(request.pod_sandbox_id, "pod_sandbox_id"))
        return cri.StopPodSandboxResponse()

    async def RemovePodSandbox(
        self, request: cri.RemovePodSandboxRequest
    ) -> cri.RemovePodSandboxResponse:
        await remove_sandbox(self._ctx, required(request.pod_sandbox_id, "pod_sandbox_id"))
        return cri.RemovePodSandboxResponse()

    async def PodSandboxStatus(
        self, request: cri.PodSandboxStatusRequest
    ) -> cri.PodSandboxStatusResponse:
        view = self._ctx.store.view
        sandbox = queries.sandbox(view, required(request.pod_sandbox_id, "pod_sandbox_id"))
        containers = queries.containers(view, sandbox_id=sandbox.id)
        # For `crictl inspectp`; kubelet's own calls are not verbose.
        info = {
            "network": json.dumps(dict(sandbox.network)),
            "netns": sandbox.netns,
            "overhead": MessageToJson(sandbox.spec.overhead.to_cri()),
            "resources": MessageToJson(sandbox.spec.resources.to_cri()),
        }
        return cri.PodSandboxStatusResponse(
            status=encode.sandbox_status(sandbox),
            info=info if request.verbose else None,
            # With these and the time kubelet's evented PLEG needs no call for each container
            # (KEP-3386).
            containers_statuses=[encode.container_status(c) for c in containers],
            timestamp=self._ctx.clock(),
        )

    async def ListPodSandbox(self, request: cri.ListPodSandboxRequest) -> bytes:
        view, f = self._ctx.store.view, request.filter
        # Both lists use the cache; kubelet calls both every second, so one that prunes is enough.
        self._cache.prune((view.sandboxes, view.containers))
        return self._cache.sandboxes(
            queries.sandboxes(view, f.id, messages.ready(f), f.label_selector)
        )

    async def CreateContainer(
        self, request: cri.CreateContainerRequest
    ) -> cri.CreateContainerResponse:
        spec = ContainerSpec.from_cri(request.config)
        sandbox_id = required(request.pod_sandbox_id, "pod_sandbox_id")
        config = request.config.SerializeToString()
        id_ = await create_container(self._ctx, sandbox_id, spec, config)
        return cri.CreateContainerResponse(container_id=id_)

    async def StartContainer(
        self, request: cri.StartContainerRequest
    ) -> cri.StartContainerResponse:
        await start_container(self._ctx, required(request.container_id, "container_id"))
        return cri.StartContainerResponse()

    async def StopContainer(self, request: cri.StopContainerRequest) -> cri.StopContainerResponse:
        # Seconds; 0 is SIGKILL at once, which kubelet asks for when it forces a deletion.
        id_ = required(request.container_id, "container_id")
        await stop_container(self._ctx, id_, float(request.timeout))
        return cri.StopContainerResponse()

    async def RemoveContainer(
        self, request: cri.RemoveContainerRequest
    ) -> cri.RemoveContainerResponse:
        await remove_container(self._ctx, required(request.container_id, "container_id"))
        return cri.RemoveContainerResponse()

    async def ListContainers(self, request: cri.ListContainersRequest) -> bytes:
        f = request.filter
        return self._cache.containers(
            queries.containers(
                self._ctx.store.view,
                f.id,
                f.pod_sandbox_id,
                messages.container_state(f),
                f.label_selector,
            )
        )

    async def ContainerStatus(
        self, request: cri.ContainerStatusRequest
    ) -> cri.ContainerStatusResponse:
        id_ = required(request.container_id, "container_id")
        container = queries.container(self._ctx.store.view, id_)
        info = {"pid": str(container.pid), "cgroup": container.cgroup}
        return cri.ContainerStatusResponse(
            status=encode.container_status(container), info=info if request.verbose else None
        )

    async def UpdateContainerResources(
        self, request: cri.UpdateContainerResourcesRequest
    ) -> cri.UpdateContainerResourcesResponse:
        wanted = LinuxResources.from_cri(request.linux, "linux")
        await update_container(self._ctx, required(request.container_id, "container_id"), wanted)
        return cri.UpdateContainerResourcesResponse()

    async def UpdatePodSandboxResources(
        self, request: cri.UpdatePodSandboxResourcesRequest
    ) -> cri.UpdatePodSandboxResourcesResponse:
        # Nothing is applied: the pod's cgroup is kubelet's, which has written the limits itself and
        # tells them for the record (and for NRI plugins).
        overhead = LinuxResources.from_cri(request.overhead, "overhead")
        resources = LinuxResources.from_cri(request.resources, "resources")
        id_ = required(request.pod_sandbox_id, "pod_sandbox_id")
        await update_sandbox(self._ctx, id_, overhead, resources)
        return cri.UpdatePodSandboxResourcesResponse()

    async def ExecSync(self, request: cri.ExecSyncRequest) -> cri.ExecSyncResponse:
        id_ = required(request.container_id, "container_id")
        result = await exec_sync(self._ctx, id_, request.cmd, request.timeout)
        return cri.ExecSyncResponse(
            stdout=result.stdout, stderr=result.stderr, exit_code=result.code
        )

    async def CheckpointContainer(
        self, request: cri.CheckpointContainerRequest
    ) -> cri.CheckpointContainerResponse:
        id_ = required(request.container_id, "container_id")
        location = required(request.location, "location")
        await dump.checkpoint_container(self._ctx, id_, location, request.timeout)
        return cri.CheckpointContainerResponse()

    async def CheckpointPod(self, request: cri.CheckpointPodRequest) -> cri.CheckpointPodResponse:
        id_ = required(request.pod_sandbox_id, "pod_sandbox_id")
        output = required(request.output_path, "output_path")
        await dump.checkpoint_pod(self._ctx, id_, output, request.container_ids, request.options)
        return cri.CheckpointPodResponse()

    async def RestorePod(self, request: cri.RestorePodRequest) -> cri.RestorePodResponse:
        # First: on a host without CRIU that is the answer, whatever else may be wrong.
        await restore.check_host(self._ctx, request.runtime_handler)
        if request.options:
            raise InvalidArgument(f"options {sorted(request.options)} are not known: give none")
        path = required(request.checkpoint_path, "checkpoint_path")
        spec = SandboxSpec.from_cri(request.config, request.runtime_handler)
        wanted = [
            (ContainerSpec.from_cri(c), c.SerializeToString()) for c in request.container_configs
        ]
        config = request.config.SerializeToString()
        id_ = await restore.restore_pod(self._ctx, path, spec, config, wanted)
        containers = self._ctx.store.view.containers_of(id_).values()
        return cri.RestorePodResponse(
            pod_sandbox_id=id_,
            restored_containers=[
                cri.RestoredContainer(name=c.name, container_id=c.id) for c in containers
            ],
        )

    async def ReopenContainerLog(
        self, request: cri.ReopenContainerLogRequest
    ) -> cri.ReopenContainerLogResponse:
        await reopen_log(self._ctx, required(request.container_id, "container_id"))
        return cri.ReopenContainerLogResponse()
