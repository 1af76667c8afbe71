"""ExecSync: run a command in a container to its end."""

from collections.abc import Sequence

from berth.base.errors import FailedPrecondition, InvalidArgument
from berth.linux.processes import Result
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState
from cri_shim.oci.process import exec_process
from cri_shim.runtime import execs


def running_container(ctx: Context, id_: str, what: str) -> Container:
    """The container, if it runs; NotFound, FailedPrecondition."""
    container = ctx.store.view.container(id_)
    if container.state is not ContainerState.RUNNING:
        raise FailedPrecondition(
            f"container {container.name} is {container.state.value}: {what} needs a running one"
        )
    return container


async def exec_sync(ctx: Context, id_: str, command: Sequence[str], timeout: int) -> Result:
    """Its output (16 MB a stream at most) and exit code; `timeout` in seconds, 0 for none.

    DeadlineExceeded when the time is up: the command and what it started are killed.
    """
    if not command:
        raise InvalidArgument("cmd is empty: give a command")
    if timeout < 0:
        raise InvalidArgument(f"timeout {timeout} is negative: use 0 for none")
    container = running_container(ctx, id_, "exec")
    # By the document that the container was made from: user, environment and limits are its own.
    bundle = ctx.directories.bundle(container.id)
    document = await ctx.process_documents.get(container.id, bundle)
    process = exec_process(document, command, False)
    handler = ctx.handlers.get(container.handler)
    return await execs.exec_sync(handler, container.id, process, float(timeout) or None)
