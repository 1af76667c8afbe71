"""ReopenContainerLog."""

from cri_shim.model.errors import FailedPrecondition
from cri_shim.model.lifecycle import ContainerState
from cri_shim.pods.context import Context
from cri_shim.runtime import attach


async def reopen_log(ctx: Context, id_: str) -> None:
    """Have the monitor write to a new file: the kubelet has renamed the old one.

    FailedPrecondition unless the container runs.
    """
    container = ctx.store.view.container(id_)
    if container.state is not ContainerState.RUNNING:
        raise FailedPrecondition(
            f"container {container.name} is {container.state.value}: only a running one logs"
        )
    if container.log_path:
        await attach.reopen_log(ctx.folders.bundle(container.id), container.log_path)
