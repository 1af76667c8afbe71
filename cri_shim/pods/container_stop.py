"""StopContainer: stop signal, grace, SIGKILL.

A later call with a shorter grace overrides an earlier one; a longer one does not.
"""

import asyncio
import dataclasses
import os
import select
import signal
from typing import Any

from berth.base.errors import DeadlineExceeded, NotFound
from berth.linux import processes
from berth.linux.files import read_text
from cri_shim.model.container import Container
from cri_shim.model.ids import ContainerId
from cri_shim.model.lifecycle import ContainerState
from cri_shim.oci.signals import number
from cri_shim.pods.context import Context

PATIENCE = 60.0
"""Seconds after SIGKILL before the client is told that the process does not die."""


class Stops:
    """Stops under way, by container."""

    def __init__(self) -> None:
        self._by_id: dict[ContainerId, _Stop] = {}

    async def stop(self, ctx: Context, container: Container, grace: float) -> None:
        stop = self._by_id.get(container.id)
        if stop is None:
            stop = self._by_id[container.id] = _Stop(ctx, container, grace)
            stop.task.add_done_callback(lambda _: self._by_id.pop(container.id, None))
        else:
            stop.shorten(grace)
        await asyncio.shield(stop.task)


class _Stop:
    """One stop: it goes on when the client leaves."""

    def __init__(self, ctx: Context, container: Container, grace: float) -> None:
        self._ctx = ctx
        self._container = container
        self._deadline = asyncio.get_running_loop().time() + grace
        self._shorter = asyncio.Event()
        self._ended = ctx.ends.future(container.id)
        self._gentle = grace > 0 and container.state is ContainerState.RUNNING
        self.task = ctx.tasks.start(self._run(), f"stop of {container.id[:12]}")

    def shorten(self, grace: float) -> None:
        deadline = asyncio.get_running_loop().time() + grace
        if deadline < self._deadline:
            self._deadline = deadline
            self._shorter.set()

    async def _run(self) -> None:
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
        if pidfd is None or _ended(pidfd):
            return
        now = self._ctx.store.view.containers.get(self._container.id)
        count = self._ctx.cgroups.oom_kills(self._container.cgroup)
        if now is not None and count > now.oom_kills:
            self._ctx.store.put_container(dataclasses.replace(now, oom_kills=count))

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
        await asyncio.wait([self._ended], timeout=PATIENCE)
        if not self._ended.done():
            raise DeadlineExceeded(
                f"container {self._container.name}: process {self._container.pid} has not died "
                f"{PATIENCE:.0f} s after SIGKILL (its state is {_state(self._container.pid)}): "
                "look for a dead disk or network mount"
            )


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _state(pid: int) -> str:
    stat = read_text(f"/proc/{pid}/stat")
    return stat.rpartition(")")[2].split()[0] if stat else "gone"


async def stop_container(ctx: Context, id_: str, grace: float) -> None:
    """Idempotent: an absent, a stopped, a stopping container are all successes.

    Raises DeadlineExceeded where the process survives SIGKILL.
    """
    try:
        container = ctx.store.view.container(id_)
    except NotFound:
        return
    if container.state not in (ContainerState.CREATED, ContainerState.RUNNING):
        return
    if not container.stopping_since:
        container = dataclasses.replace(container, stopping_since=ctx.clock())
        ctx.store.put_container(container)
    await ctx.stops.stop(ctx, container, max(0.0, grace))
