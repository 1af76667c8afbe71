"""ExecSync: run a command in a container to its end."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from berth.base.errors import FailedPrecondition, InvalidArgument
from berth.linux.processes import Result
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState
from cri_shim.oci.process import exec_process
from cri_shim.pods.context import Context
from cri_shim.runtime import execs


def running_container(ctx: Context, id_: str, what: str) -> Container:
    """The container, if it runs; NotFound, FailedPrecondition."""
    container = ctx.store.view.container(id_)
    if container.state is not ContainerState.RUNNING:
        raise FailedPrecondition(
            f"container {container.name} is {container.state.value}: {what} needs a running one"
        )
    return container


class Documents:
    """OCI documents of the containers in which commands ran last: probes come every second."""

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()

    async def get(self, ctx: Context, container: Container) -> dict[str, Any]:
        """The process part of the document that the container was made from."""
        document = self._kept.pop(container.id, None)
        if document is None:
            path = ctx.folders.bundle(container.id) / "config.json"
            data = await asyncio.to_thread(path.read_bytes)
            document = {"process": json.loads(data)["process"]}
        self._kept[container.id] = document
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return document


async def exec_sync(ctx: Context, id_: str, command: Sequence[str], timeout: int) -> Result:
    """Its output (16 MB a stream at most) and exit code; `timeout` in seconds, 0 for none.

    DeadlineExceeded when the time is up: the command and what it started are killed.
    """
    if not command:
        raise InvalidArgument("cmd is empty: give a command")
    if timeout < 0:
        raise InvalidArgument(f"timeout {timeout} is negative: use 0 for none")
    container = running_container(ctx, id_, "exec")
    process = exec_process(await ctx.documents.get(ctx, container), command, False)
    handler = ctx.handlers.get(container.handler)
    return await execs.exec_sync(handler, container.id, process, float(timeout) or None)
