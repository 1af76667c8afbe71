"""ReopenContainerLog."""

from pathlib import Path

from cri_shim.context import Context
from cri_shim.runtime import logs
from cri_shim.verbs import queries


async def reopen_log(ctx: Context, id_: str) -> None:
    """Have the monitor write to a new file: the kubelet has renamed the old one.

    Returns when it does. A container that has just ended gets an empty file: what it wrote is in
    the renamed one.
    """
    # Of an ended one too: kubelet rotates logs by their size, and may be a moment late.
    container = queries.container(ctx.store.view, id_)
    if container.log_path:
        bundle, log = ctx.directories.bundle(container.id), Path(container.log_path)
        await logs.reopen_log(bundle, log, container.conmon_pid)
