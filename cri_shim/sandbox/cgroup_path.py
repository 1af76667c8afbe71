"""Where in the cgroup tree a container is."""

from berth.linux.cgroups import naming
from cri_shim.context import Context
from cri_shim.model.sandbox import Sandbox


def container_cgroup(ctx: Context, sandbox: Sandbox, id_: str) -> tuple[str, str]:
    """The path below the hierarchy roots, and the form the OCI document wants."""
    driver = ctx.settings.driver
    return (
        naming.filesystem_path(driver, sandbox.cgroup, id_),
        naming.container_path(driver, sandbox.cgroup, id_),
    )
