"""A container's process ended: its record, its event, and whoever waits for it.

The order of an exit matters:

1. A start under way is recorded first. A process may end before the OCI runtime's `start`
   returns; recorded the other way round, the record would go from EXITED back to RUNNING.
2. The log is sealed (a last line without its newline gets its end) before the record says EXITED:
   kubelet reads the log once it has seen the exit.
3. The record, then the event, then whoever waits: a client that hears of the exit finds it.
4. Only then, in the background, what the OCI runtime keeps is dropped. Removal waits for that.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.tasks import Tasks
from cri_shim.model.container import Container
from cri_shim.model.events import EventType
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.runtime import commands, logs
from cri_shim.runtime.conmon import EXIT_FILE
from cri_shim.runtime.exits import Exit, ExitWatcher
from cri_shim.runtime.handler import Handlers
from cri_shim.store.directories import Directories
from cri_shim.store.store import Store
from cri_shim.upkeep.events import Events

log = logging.getLogger(__name__)

KILLED = 128 + 9
"""Exit code of a process that SIGKILL ended, as a shell has it: whoever sent the signal."""

LIVING = (ContainerState.CREATED, ContainerState.RUNNING)


class Exits:
    """Watches processes of containers, records their ends, and tells whoever waits for one."""

    def __init__(
        self,
        store: Store,
        watcher: ExitWatcher,
        tasks: Tasks,
        events: Events,
        cgroups: Cgroups,
        handlers: Handlers,
        directories: Directories,
    ) -> None:
        self._store = store
        self._watcher = watcher
        self._tasks = tasks
        self._events = events
        self._cgroups = cgroups
        self._handlers = handlers
        self._directories = directories
        self._waiting: dict[ContainerId, asyncio.Future[None]] = {}
        self._starting: dict[ContainerId, asyncio.Event] = {}
        self._cleaning: dict[ContainerId, asyncio.Task[None]] = {}

    def watch(self, container: Container) -> None:
        """Record the end of this container's process, whenever it comes."""

        def done(exit_: Exit) -> None:
            self._tasks.start(self._ended(container.id, exit_), f"exit of {container.id[:12]}")

        self._watcher.watch(
            container.id,
            container.pid,
            container.pid_start,
            container.conmon_pid,
            container.conmon_start,
            self._directories.bundle(container.id) / EXIT_FILE,
            done,
        )

    def forget(self, id_: ContainerId) -> None:
        """Stop watching: the container is being taken away."""
        self._watcher.forget(id_)

    @contextmanager
    def starting(self, id_: ContainerId) -> Iterator[None]:
        """A start is under way: an exit seen meanwhile is recorded after it."""
        started = self._starting[id_] = asyncio.Event()
        try:
            yield
        finally:
            del self._starting[id_]
            started.set()

    def recorded(self, id_: ContainerId) -> "asyncio.Future[None]":
        """A future that is done once the record says EXITED."""
        future = self._waiting.get(id_)
        if future is None:
            future = self._waiting[id_] = asyncio.get_running_loop().create_future()
        return future

    async def cleaned(self, id_: ContainerId) -> None:
        """Wait for the clean-up after the exit, if one is under way."""
        task = self._cleaning.get(id_)
        if task is not None:
            await asyncio.wait([task])

    def record(self, id_: ContainerId, exit_: Exit, message: str = "") -> None:
        """The record, the event; then, in the background, what the OCI runtime keeps.

        `message` replaces what the exit says of itself. Nothing happens to a container that is
        recorded as ended, or as not yet made.
        """
        before = self._store.view.containers.get(id_)
        if before is None or before.state not in LIVING:
            return
        # Before the clean-up below, which takes away the cgroup that counts the OOM kills.
        reason = self._reason(before, exit_)

        def ended(now: Container) -> Container:
            return dataclasses.replace(
                now,
                state=ContainerState.EXITED,
                exit_code=exit_.code,
                # A file's time is the kernel's coarse clock: up to 4 ms behind the clock that
                # the start was recorded by.
                finished_at=max(exit_.at, now.started_at + 1),
                reason=reason,
                message=message or exit_.reason,
            )

        container = self._store.update_container(id_, ended)
        self._events.publish(container.id, container.sandbox_id, EventType.STOPPED)
        # In the background: `delete` is another process to start, and a client that waits for the
        # exit needs none of what it does.
        task = self._tasks.start(self._clean(container), f"clean-up of {container.id[:12]}")
        self._cleaning[id_] = task
        task.add_done_callback(lambda _: self._cleaning.pop(id_, None))

    async def _ended(self, id_: ContainerId, exit_: Exit) -> None:
        started = self._starting.get(id_)
        if started is not None:
            await started.wait()
        # Read only now: the start has just changed the record.
        container = self._store.view.containers.get(id_)
        if container is not None and container.state in LIVING:
            if container.log_path:
                await asyncio.to_thread(logs.seal, Path(container.log_path))
            self.record(id_, exit_)
        # Also where nothing was recorded: whoever waits for an end that was recorded before would
        # wait for ever.
        future = self._waiting.pop(id_, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _reason(self, container: Container, exit_: Exit) -> str:
        """OOMKilled needs both: SIGKILL's code, and an OOM kill not accounted for otherwise.

        A child's, or that of a command run by exec, counts in the same cgroup: so what was counted
        before our own SIGKILL is left out. conmon's mark tells where systemd took the cgroup away.
        """
        if not exit_.known:
            return "Unknown"
        if exit_.code == KILLED:
            kills, exists = self._cgroups.oom_kills, self._cgroups.exists
            killed = kills(container.cgroup) > container.oom_kills
            # A cgroup that systemd has taken away counts nothing any more. conmon watched it.
            lost = exit_.oom and not container.oom_kills and not exists(container.cgroup)
            if killed or lost:
                return "OOMKilled"
        return "Completed" if exit_.code == 0 else "Error"

    async def _clean(self, container: Container) -> None:
        """Kill what outlived its first process in a shared PID namespace; drop runtime state."""
        # The kernel kills all processes of a PID namespace with its first one (pid_namespaces(7)).
        # Where that is the pod's init or the host's, children of the container would live on.
        if container.spec.security.namespaces.pid is not NamespaceMode.CONTAINER:
            await asyncio.to_thread(self._cgroups.kill, container.cgroup)
        try:
            handler = self._handlers.get(container.handler)
            await commands.delete(handler, container.id, force=True)
        except Exception as error:  # removal tries again
            log.warning("container %s: clean-up after its exit: %s", container.id[:12], error)
