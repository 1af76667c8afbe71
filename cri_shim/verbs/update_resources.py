"""UpdateContainerResources and UpdatePodSandboxResources."""

import dataclasses

from berth.base.errors import FailedPrecondition, InvalidArgument, RuntimeFailure
from berth.linux.cgroups import naming
from cri_shim.container import limits
from cri_shim.container.checks import check_limits
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.resources import LinuxResources
from cri_shim.model.sandbox import Sandbox
from cri_shim.oci.resources import merged
from cri_shim.verbs import queries


async def update_container(ctx: Context, id_: str, wanted: LinuxResources) -> None:
    """Change the limits of a created or running container; what is not given stays.

    FailedPrecondition for any other state; InvalidArgument for a memory limit below the use, or a
    limit that the pod's own rules out. After a failure the kernel has what it had before.
    """
    container = queries.container(ctx.store.view, id_)
    async with ctx.locks.hold(container.id):
        # One after the other: each writes all limits, its own over those of the record. Two at
        # once would write over each other's, and the record would have what the kernel has not.
        await _update(ctx, queries.container(ctx.store.view, container.id), wanted)


async def _update(ctx: Context, container: Container, wanted: LinuxResources) -> None:
    _check_living(container)
    resources = merged(container.resources, wanted)
    _check_within_pod(ctx, container, wanted, resources)
    _check_memory(ctx, container, wanted)
    try:
        await limits.write(ctx, container, resources)
    except RuntimeFailure:
        # Its cgroup goes when it ends: what failed is then this call, and not the host.
        _check_living(ctx.store.view.containers[container.id])
        raise
    ctx.store.update_container(
        container.id, lambda now: dataclasses.replace(now, resources=resources)
    )


def _check_living(container: Container) -> None:
    if container.state not in (ContainerState.CREATED, ContainerState.RUNNING):
        raise FailedPrecondition(
            f"container {container.name} is {container.state.value}: "
            "only a created or running one can be updated"
        )


def _check_within_pod(
    ctx: Context, container: Container, wanted: LinuxResources, after: LinuxResources
) -> None:
    """Within what the pod has; a quota and its period count together."""
    sandbox = ctx.store.view.sandboxes[container.sandbox_id]
    # One of the two given alone changes the share all the same.
    changed = wanted
    if wanted.cpu_quota or wanted.cpu_period:
        quota, period = after.cpu_quota, after.cpu_period
        changed = dataclasses.replace(wanted, cpu_quota=quota, cpu_period=period)
    parent = naming.pod_path(ctx.settings.driver, sandbox.cgroup)
    check_limits(ctx.cgroups, changed, parent, "linux")


def _check_memory(ctx: Context, container: Container, wanted: LinuxResources) -> None:
    if wanted.memory_limit <= 0:
        return
    # On cgroup v2 the kernel takes such a limit and kills until the rest fits. In-place resizing
    # (KEP-1287) wants an error, and kubelet then tries again later.
    used = ctx.cgroups.memory(container.cgroup).usage
    if wanted.memory_limit < used:
        raise InvalidArgument(
            f"linux.memory_limit_in_bytes {wanted.memory_limit} is below what container "
            f"{container.name} uses now ({used}): the kernel would kill it"
        )


async def update_sandbox(
    ctx: Context, id_: str, overhead: LinuxResources, resources: LinuxResources
) -> None:
    """Remember what the kubelet has set on the pod's cgroup itself."""
    sandbox = queries.sandbox(ctx.store.view, id_)

    def updated(now: Sandbox) -> Sandbox:
        spec = dataclasses.replace(now.spec, overhead=overhead, resources=resources)
        return dataclasses.replace(now, spec=spec)

    ctx.store.update_sandbox(sandbox.id, updated)
