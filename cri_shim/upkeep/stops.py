"""Stops under way: stop signal, grace, SIGKILL; each goes on when its client leaves.

A later call with a shorter grace overrides an earlier one; a longer one does not. That is what
kubelet counts on when it lowers a pod's grace period while the pod is being stopped.
"""

import asyncio
import dataclasses
import os
import select
import signal
from typing import Any

from berth.base.errors import DeadlineExceeded
from berth.linux import processes
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.files import read_text
from berth.linux.tasks import Tasks
from cri_shim.model.container import Container
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState
from cri_shim.oci.signals import number
from cri_shim.store.store import Store
from cri_shim.upkeep.exits import Exits

KILL_TIMEOUT = 60.0
"""Seconds after SIGKILL before the client is told that the process does not die."""


class Stops:
    """Stops under way, by container."""

    def __init__(self, store: Store, exits: Exits, cgroups: Cgroups, tasks: Tasks) -> None:
        self._store = store
        self._exits = exits
        self._cgroups = cgroups
        self._tasks = tasks
        self._by_id: dict[ContainerId, _Stop] = {}

    async def stop(self, container: Container, grace: float) -> None:
        """Join the stop under way or begin one; `grace` in seconds.

        Raises DeadlineExceeded where the process survives SIGKILL.
        """
        stop = self._by_id.get(container.id)
        if stop is None:
            # The recorded end, not the process's: who stops a container looks at its status next.
            ended = self._exits.recorded(container.id)
            stop = _Stop(self._store, self._cgroups, container, ended, grace)
            self._by_id[container.id] = stop
            task = self._tasks.start(stop.run(), f"stop of {container.id[:12]}")
            task.add_done_callback(lambda _: self._by_id.pop(container.id, None))
            stop.task = task
        else:
            stop.shorten(grace)
        # The client may leave; kubelet does when its own deadline passes, and calls again.
        await asyncio.shield(stop.task)


class _Stop:
    """One stop, from its signal to the recorded end."""

    task: "asyncio.Task[None]"

    def __init__(
        self,
        store: Store,
        cgroups: Cgroups,
        container: Container,
        ended: "asyncio.Future[None]",
        grace: float,
    ) -> None:
        self._store = store
        self._cgroups = cgroups
        self._container = container
        self._ended = ended
        self._deadline = asyncio.get_running_loop().time() + grace
        self._shorter = asyncio.Event()
        # One that is only created has no program yet to handle a signal: its first process is the
        # OCI runtime's, waiting for the start.
        self._gentle = grace > 0 and container.state is ContainerState.RUNNING

    def shorten(self, grace: float) -> None:
        """End the grace earlier, if this is earlier."""
        deadline = asyncio.get_running_loop().time() + grace
        if deadline < self._deadline:
            self._deadline = deadline
            self._shorter.set()

    async def run(self) -> None:
        # A pidfd, checked against the start time: after the grace the number may be another's.
        pidfd = processes.open_pidfd(self._container.pid, self._container.pid_start)
        try:
            if self._gentle:
                self._send(pidfd, number(self._container.stop_signal))
                await self._wait_for_deadline()
            if not self._ended.done():
                await self._kill(pidfd)
        finally:
            if pidfd is not None:
                os.close(pidfd)

    def _send(self, pidfd: int | None, sig: int) -> None:
        if pidfd is not None:
            processes.send_signal(pidfd, sig)

    def _note_oom_kills(self, pidfd: int | None) -> None:
        """Those so far hit others in the container: this end is ours, not the kernel's."""
        if (
            pidfd is None
            or _is_done(pidfd)
            or self._container.id not in self._store.view.containers
        ):
            return
        count = self._cgroups.oom_kills(self._container.cgroup)
        self._store.update_container(
            self._container.id,
            lambda now: dataclasses.replace(now, oom_kills=max(count, now.oom_kills)),
        )

    async def _wait_for_deadline(self) -> None:
        """Until it ends, or the deadline, which may come nearer meanwhile."""
        loop = asyncio.get_running_loop()
        while not self._ended.done() and (left := self._deadline - loop.time()) > 0:
            self._shorter.clear()
            shorter = asyncio.ensure_future(self._shorter.wait())
            waits: list[asyncio.Future[Any]] = [self._ended, shorter]
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            shorter.cancel()

    async def _kill(self, pidfd: int | None) -> None:
        self._note_oom_kills(pidfd)
        self._send(pidfd, signal.SIGKILL)
        # SIGKILL cannot be refused, but a process in state D takes it only once its disk or its
        # server responds. Its container stays RUNNING then: that is the truth.
        await asyncio.wait([self._ended], timeout=KILL_TIMEOUT)
        if not self._ended.done():
            raise DeadlineExceeded(
                f"container {self._container.name}: process {self._container.pid} has not died "
                f"{KILL_TIMEOUT:.0f} s after SIGKILL (its state is "
                f"{_state(self._container.pid)}): look for a dead disk or network mount"
            )


def _is_done(pidfd: int) -> bool:
    """Whether the process has ended: its pidfd is readable then."""
    poll = select.poll()  # not select(): descriptors of a crowded node are above its 1024
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _state(pid: int) -> str:
    """The process's state letter of proc_pid_stat(5): D waits for the disk."""
    stat = read_text(f"/proc/{pid}/stat")
    return stat.rpartition(")")[2].split()[0] if stat else "gone"
