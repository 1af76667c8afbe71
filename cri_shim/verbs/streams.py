"""Exec, attach and port-forward: what the streaming edge opens for a request with a good URL."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from berth.base.errors import FailedPrecondition
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.network import dial
from cri_shim.oci.process import exec_process
from cri_shim.runtime import attach, control_fifo, execs
from cri_shim.runtime.execs import ExecProcess
from cri_shim.verbs import queries
from cri_shim.verbs.exec_sync import running_container
from cri_shim.wire.remote_command import Wanted


class Attached:
    """A connection to the monitor of a running container."""

    def __init__(self, connected: socket.socket, bundle: Path) -> None:
        self.socket = connected
        self._bundle = bundle

    async def resize(self, width: int, height: int) -> None:
        await asyncio.to_thread(control_fifo.resize, self._bundle, width, height)

    async def close(self) -> None:
        self.socket.close()


class Streams:
    """Opens streams, and checks a request before a URL is given out for it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def check_container(self, container_id: str, what: str) -> Container:
        """The running container; NotFound, FailedPrecondition."""
        return running_container(self._ctx, container_id, what)

    def check_sandbox(self, sandbox_id: str) -> str:
        """The id of a ready pod; NotFound, FailedPrecondition."""
        sandbox = queries.sandbox(self._ctx.store.view, sandbox_id)
        if sandbox.state is not SandboxState.READY:
            raise FailedPrecondition(f"pod {sandbox.name} is not ready: nothing to forward to")
        return sandbox.id

    async def exec(
        self, container_id: str, command: Sequence[bytes], wanted: Wanted
    ) -> ExecProcess:
        container = self.check_container(container_id, "exec")
        # The request came as a URL's query or as CRI strings; a program's arguments are any bytes.
        arguments = [word.decode("utf-8", "surrogateescape") for word in command]
        bundle = self._ctx.directories.bundle(container.id)
        document = await self._ctx.process_documents.get(container.id, bundle)
        process = exec_process(document, arguments, wanted.tty)
        handler = self._ctx.handlers.get(container.handler)
        return await execs.start_exec(
            handler,
            container.id,
            process,
            wanted.tty,
            wanted.stdin,
            wanted.stdout,
            wanted.stderr,
        )

    async def attach(self, container_id: str, wanted: Wanted) -> Attached:
        container = queries.container(self._ctx.store.view, container_id)
        # A created one has its terminal already: who attaches before the start misses no output.
        if container.state not in (ContainerState.CREATED, ContainerState.RUNNING):
            raise FailedPrecondition(f"container {container.name} has ended: nothing to attach to")
        bundle = self._ctx.directories.bundle(container.id)
        return Attached(await attach.attach(bundle), bundle)

    async def dial(self, sandbox_id: str, port: int) -> socket.socket:
        # Checked again: the URL is good for a minute, in which the pod may have stopped.
        sandbox = self._ctx.store.view.sandbox(self.check_sandbox(sandbox_id))
        return await dial.dial(sandbox.netns or None, port)
