"""The pod's cgroup: the kubelet's where it made one, else our own."""

import asyncio
import dataclasses

from cri_shim.host.cgroups import naming
from cri_shim.host.cgroups.naming import Driver
from cri_shim.model.errors import InvalidArgument, RuntimeFailure
from cri_shim.model.sandbox import Sandbox
from cri_shim.pods.context import Context


def default_parent(driver: Driver, sandbox_id: str) -> str:
    """The parent of containers where CRI gives none."""
    if driver is Driver.SYSTEMD:
        return f"berth-pod{sandbox_id[:32]}.slice"
    return f"/berth-pod{sandbox_id}"


async def make_cgroup(ctx: Context, sandbox: Sandbox) -> Sandbox:
    """Make sure that the pod's cgroup is there; answers the record that names it."""
    driver = ctx.settings.driver
    parent = sandbox.spec.cgroup_parent or default_parent(driver, sandbox.id)
    try:
        path = naming.pod_path(driver, parent)
    except naming.BadCgroupParent as error:
        raise InvalidArgument(f"config.linux.cgroup_parent: {error}") from None
    if (
        driver is Driver.SYSTEMD
    ):  # systemd makes the slice when the first container's scope asks for it
        return dataclasses.replace(sandbox, cgroup=parent)
    if ctx.cgroups.exists(path):
        return dataclasses.replace(sandbox, cgroup=parent)
    # That it is ours is on record before it is there: `kill -9` between the two must not leave it.
    now = ctx.store.view.sandboxes[sandbox.id]
    ctx.store.put_sandbox(dataclasses.replace(now, cgroup=parent, cgroup_made=True))
    try:
        await asyncio.to_thread(ctx.cgroups.create, path)
    except OSError as error:
        raise RuntimeFailure(f"pod {sandbox.name}: making its cgroup {parent}: {error}") from error
    return dataclasses.replace(sandbox, cgroup=parent, cgroup_made=True)
