"""A container's process ended: its record, its event, and whoever waits for it."""

import asyncio
import dataclasses
import logging
from pathlib import Path

from cri_shim.model.container import Container
from cri_shim.model.events import EventType
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.pods.context import Context
from cri_shim.runtime import commands, logs
from cri_shim.runtime.conmon import EXIT_FILE
from cri_shim.runtime.exits import Exit

log = logging.getLogger(__name__)

KILLED = 128 + 9


class Ends:
    """Who waits for which container's end, and the clean-ups under way after one."""

    def __init__(self) -> None:
        self._waiting: dict[ContainerId, asyncio.Future[None]] = {}
        self._starting: dict[ContainerId, asyncio.Event] = {}
        self._cleaning: dict[ContainerId, asyncio.Task[None]] = {}

    def starting(self, id_: ContainerId) -> None:
        """A start is under way: an exit seen now is recorded after it."""
        self._starting[id_] = asyncio.Event()

    def started(self, id_: ContainerId) -> None:
        event = self._starting.pop(id_, None)
        if event is not None:
            event.set()

    async def after_start(self, id_: ContainerId) -> None:
        event = self._starting.get(id_)
        if event is not None:
            await event.wait()

    def future(self, id_: ContainerId) -> "asyncio.Future[None]":
        """Done once the record says EXITED."""
        future = self._waiting.get(id_)
        if future is None:
            future = self._waiting[id_] = asyncio.get_running_loop().create_future()
        return future

    def ended(self, id_: ContainerId) -> None:
        future = self._waiting.pop(id_, None)
        if future is not None and not future.done():
            future.set_result(None)

    def clean(self, id_: ContainerId, task: "asyncio.Task[None]") -> None:
        self._cleaning[id_] = task
        task.add_done_callback(lambda _: self._cleaning.pop(id_, None))

    async def cleaned(self, id_: ContainerId) -> None:
        """Wait for the clean-up after the exit, if one is under way."""
        task = self._cleaning.get(id_)
        if task is not None:
            await asyncio.wait([task])


def watch(ctx: Context, container: Container) -> None:
    """Record the end of this container's process, whenever it comes."""

    def done(exit_: Exit) -> None:
        ctx.tasks.start(_ended(ctx, container.id, exit_), f"exit of {container.id[:12]}")

    ctx.exits.watch(
        container.id,
        container.pid,
        container.pid_start,
        container.conmon_pid,
        container.conmon_start,
        ctx.folders.bundle(container.id) / EXIT_FILE,
        done,
    )


async def _ended(ctx: Context, id_: ContainerId, exit_: Exit) -> None:
    await ctx.ends.after_start(id_)
    container = ctx.store.view.containers.get(id_)
    if container is not None and container.state in (
        ContainerState.CREATED,
        ContainerState.RUNNING,
    ):
        if container.log_path:
            await asyncio.to_thread(logs.seal, Path(container.log_path))
        record_end(ctx, container, exit_)
    ctx.ends.ended(id_)


def record_end(ctx: Context, container: Container, exit_: Exit) -> None:
    """The record, the event; then, in the background, what the OCI runtime keeps."""
    container = dataclasses.replace(
        container,
        state=ContainerState.EXITED,
        exit_code=exit_.code,
        # A file's time is the kernel's coarse clock, up to 4 ms behind the one we started by.
        finished_at=max(exit_.at, container.started_at + 1),
        reason=_reason(ctx, container, exit_),
        message=exit_.reason,
    )
    ctx.store.put_container(container)
    ctx.events.publish(container.id, container.sandbox_id, EventType.STOPPED)
    task = ctx.tasks.start(_clean(ctx, container), f"clean-up of {container.id[:12]}")
    ctx.ends.clean(container.id, task)


def _reason(ctx: Context, container: Container, exit_: Exit) -> str:
    """OOMKilled needs both: SIGKILL's code, and an OOM kill that is not accounted for otherwise.

    A child's, or that of a command run by exec, counts in the same cgroup: so what was counted
    before our own SIGKILL is left out. conmon's mark tells where systemd took the cgroup away.
    """
    if not exit_.known:
        return "Unknown"
    if exit_.code == KILLED:
        killed = ctx.cgroups.oom_kills(container.cgroup) > container.oom_kills
        lost = exit_.oom and not container.oom_kills and not ctx.cgroups.exists(container.cgroup)
        if killed or lost:
            return "OOMKilled"
    return "Completed" if exit_.code == 0 else "Error"


async def _clean(ctx: Context, container: Container) -> None:
    """Kill what outlived its first process in a shared PID namespace; drop the runtime's state."""
    if container.spec.security.namespaces.pid is not NamespaceMode.CONTAINER:
        await asyncio.to_thread(ctx.cgroups.kill, container.cgroup)
    try:
        await commands.delete(ctx.handlers.get(container.handler), container.id, force=True)
    except Exception as error:  # removal tries again
        log.warning("container %s: clean-up after its exit: %s", container.id[:12], error)
