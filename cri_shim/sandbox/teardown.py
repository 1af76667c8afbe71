"""Take away what a pod has on the host.

One idempotent teardown serves every need: stop and remove, the undo of a create that failed at
any step, and recovery after `kill -9`. It works from the record alone, which is why each step of
a create enters what it made before the next step begins.

Whoever calls holds the pod's lock (`ctx.locks`): two at once would each find half of it gone.
"""

import asyncio
import dataclasses
import logging
from pathlib import Path

from berth.linux import files, mounts, namespaces
from berth.linux.cgroups import naming
from cri_shim.context import Context
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.sandbox.admission import release_grant
from cri_shim.sandbox.init import stop_init
from cri_shim.sandbox.network import detach

log = logging.getLogger(__name__)


async def release(ctx: Context, sandbox: Sandbox) -> None:
    """What a stopped pod no longer needs: init, addresses, network namespace, grant.

    What cannot be released raises: the record stays, and a later call tries again. The order:
    the init first, it is a process in those namespaces; the addresses while the namespace is still
    pinned, for CNI plugins are given its path to undo what they did in it; the grant last, since
    the agent gives it to another pod at once.
    """
    await stop_init(ctx, sandbox)
    await detach(ctx, sandbox)
    await asyncio.to_thread(_unpin, ctx.directories.namespaces(sandbox.id))
    await release_grant(ctx, sandbox)


def _unpin(directory: Path) -> None:
    for kind in ("net", "ipc", "uts", "user"):
        namespaces.unpin(directory / kind)


async def remove_files(ctx: Context, sandbox: Sandbox) -> None:
    """What is left of a stopped pod: its directory, /dev/shm, and the cgroup if it was ours."""
    await asyncio.to_thread(_remove_files, ctx, sandbox)


def _remove_files(ctx: Context, sandbox: Sandbox) -> None:
    # Lazy: a process that still has a file of it open must not keep the pod from being removed.
    mounts.unmount(str(ctx.directories.shm(sandbox.id)), lazy=True)
    files.remove_tree(ctx.directories.sandbox(sandbox.id))
    # The kubelet restarts a pod's sandbox in the same cgroup: the last that uses it takes it away.
    others = (s for s in ctx.store.view.sandboxes.values() if s.id != sandbox.id)
    if sandbox.cgroup_made and all(other.cgroup != sandbox.cgroup for other in others):
        ctx.cgroups.remove(naming.pod_path(ctx.settings.driver, sandbox.cgroup))


async def undo(ctx: Context, sandbox: Sandbox, cause: BaseException) -> None:
    """A create failed: leave nothing. What resists stays in the record for recovery to finish."""
    sandbox = ctx.store.update_sandbox(
        sandbox.id, lambda now: dataclasses.replace(now, state=SandboxState.REMOVING)
    )
    try:
        await release(ctx, sandbox)
        await remove_files(ctx, sandbox)
    except Exception:
        log.exception("pod %s: undo after %r is not complete; tried again later",
                      sandbox.name, cause)  # fmt: skip
        return
    ctx.store.delete_sandbox(sandbox.id)
