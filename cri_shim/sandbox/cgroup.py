"""The cgroups of a pod and of what runs in it: the kubelet's where it made one, else our own."""

from berth.base.errors import InvalidArgument
from berth.linux.cgroups import naming
from berth.linux.cgroups.naming import Driver
from cri_shim.context import Context
from cri_shim.model.sandbox import Sandbox, SandboxSpec


def default_parent(driver: Driver, sandbox_id: str) -> str:
    """The parent of containers where CRI gives none."""
    if driver is Driver.SYSTEMD:
        return f"berth-pod{sandbox_id[:32]}.slice"
    return f"/berth-pod{sandbox_id}"


def choose_cgroup(ctx: Context, spec: SandboxSpec, sandbox_id: str) -> tuple[str, bool]:
    """The pod's cgroup as CRI names it, and whether it is ours to take away; InvalidArgument.

    One that does not exist is made by the OCI runtime (or systemd) with the first container, and
    goes with the last pod that shares it: nobody makes it here, so that a pod whose create fails
    leaves no empty one behind. systemd takes away its own slices.
    """
    driver = ctx.settings.driver
    parent = spec.cgroup_parent or default_parent(driver, sandbox_id)
    try:
        path = naming.pod_path(driver, parent)
    except naming.BadCgroupParent as error:
        raise InvalidArgument(f"config.linux.cgroup_parent: {error}") from None
    sharing = [s for s in ctx.store.view.sandboxes.values() if s.cgroup == parent]
    ours = any(s.cgroup_made for s in sharing) or not ctx.cgroups.exists(path)
    return parent, driver is Driver.CGROUPFS and ours


def container_cgroup(ctx: Context, sandbox: Sandbox, id_: str) -> tuple[str, str]:
    """The path below the hierarchy roots, and the form the OCI document wants."""
    driver = ctx.settings.driver
    return (
        naming.filesystem_path(driver, sandbox.cgroup, id_),
        naming.container_path(driver, sandbox.cgroup, id_),
    )
