"""UpdateContainerResources and UpdatePodSandboxResources."""

import dataclasses
import json

from cri_shim.model.container import Container
from cri_shim.model.errors import FailedPrecondition, InvalidArgument
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.resources import LinuxResources
from cri_shim.oci.resources import merged, resources_update
from cri_shim.pods import queries
from cri_shim.pods.context import Context
from cri_shim.runtime import commands


async def update_container(ctx: Context, id_: str, wanted: LinuxResources) -> None:
    """Change the limits of a created or running container; what is not given stays.

    FailedPrecondition for any other state; InvalidArgument for a memory limit below the use.
    """
    container = queries.container(ctx.store.view, id_)
    if container.state not in (ContainerState.CREATED, ContainerState.RUNNING):
        raise FailedPrecondition(
            f"container {container.name} is {container.state.value}: "
            "only a created or running one can be updated"
        )
    _check_memory(ctx, container, wanted)
    resources = merged(container.resources, wanted)
    document = resources_update(resources, ctx.host.cgroup)
    handler = ctx.handlers.get(container.handler)
    await commands.update(handler, container.id, json.dumps(document).encode())
    now = ctx.store.view.containers[container.id]
    ctx.store.put_container(dataclasses.replace(now, resources=resources))


def _check_memory(ctx: Context, container: Container, wanted: LinuxResources) -> None:
    if wanted.memory_limit <= 0:
        return
    used = ctx.cgroups.memory(container.cgroup).usage
    if wanted.memory_limit < used:
        raise InvalidArgument(
            f"memory_limit_in_bytes {wanted.memory_limit} is below what container "
            f"{container.name} uses now ({used}): the kernel would kill it"
        )


async def update_sandbox(
    ctx: Context, id_: str, overhead: LinuxResources, resources: LinuxResources
) -> None:
    """Remember what the kubelet has set on the pod's cgroup itself."""
    sandbox = queries.sandbox(ctx.store.view, id_)
    spec = dataclasses.replace(sandbox.spec, overhead=overhead, resources=resources)
    ctx.store.put_sandbox(dataclasses.replace(sandbox, spec=spec))
