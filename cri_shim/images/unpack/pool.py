"""Worker processes that unpack layers: a few, started at need, ended when idle."""

import asyncio
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from berth.base.errors import RuntimeFailure
from berth.linux.processes import Process, spawn
from berth.linux.tasks import Tasks
from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.extract import Unpacked
from cri_shim.images.unpack.stream import Limits
from cri_shim.model.ids import Digest

_ARGV = (sys.executable, "-I", "-X", "utf8", "-m", "cri_shim.images.unpack.worker")
_IDLE = 5.0
"""Seconds that a worker waits for the next layer before it is ended."""


class _Worker:
    """One process and the connection to it."""

    def __init__(self, process: Process, ours: socket.socket) -> None:
        self._process = process
        self._socket = ours
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self.idle: asyncio.TimerHandle | None = None

    @classmethod
    def start(cls) -> "_Worker":
        ours, theirs = socket.socketpair()
        try:
            # On the loop's thread, and never on one of a pool: the worker asks to be killed with
            # its parent, and for PR_SET_PDEATHSIG that is the thread which started it (prctl(2)).
            fd = theirs.fileno()
            # stderr is the daemon's: a traceback there is a defect and belongs into its log.
            process = spawn((*_ARGV, str(os.getpid())), stdin=fd, stdout=fd, stderr=2)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours)

    async def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        # The limit is for the reply, one line with all directories that no entry described.
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                sock=self._socket, limit=64 << 20
            )
        assert self._reader is not None
        self._writer.write(json.dumps(job).encode() + b"\n")
        try:
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        if not line:
            code = await self._process.wait()
            return {"failed": f"the unpacking process ended with exit code {code}"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def end(self) -> None:
        """Kill and reap; a layer in work stays half-done."""
        if self.idle is not None:
            self.idle.cancel()
        self._process.send(signal.SIGKILL)
        if self._writer is not None:
            self._writer.close()
        else:
            self._socket.close()
        await self._process.wait()
        self._process.close()


class UnpackPool:
    """At most `count` layers are unpacked at a time, each in a process of its own."""

    def __init__(self, tasks: Tasks, limits: Limits, count: int | None = None) -> None:
        self._tasks = tasks
        self._limits = limits
        self._slots = asyncio.Semaphore(count or min(os.cpu_count() or 1, 4))
        self._idle: list[_Worker] = []

    async def unpack(
        self, blob: Path, target: Path, diff_id: Digest, onto: bool = False
    ) -> Unpacked:
        """Unpack into the new directory `target`, whose remains after an error are the caller's.

        With `onto` into one that is there, over what is in it.

        Raises BadImage where the layer is wrong and RuntimeFailure where this host is.
        """
        job = {"blob": str(blob), "target": str(target), "diff_id": diff_id, "onto": onto}
        async with self._slots:
            worker = self._take()
            try:
                reply = await worker.ask({**job, "limits": asdict(self._limits)})
            except BaseException:
                # It is in the middle of a layer that nobody wants any more, it does not listen,
                # and the caller removes the directory next.
                await asyncio.shield(worker.end())
                raise
            await self._keep(worker, reply)
        return _read(reply, diff_id)

    def _take(self) -> _Worker:
        if not self._idle:
            return _Worker.start()
        worker = self._idle.pop()
        if worker.idle is not None:
            worker.idle.cancel()
        return worker

    async def _keep(self, worker: _Worker, reply: dict[str, Any]) -> None:
        if "failed" in reply:
            await worker.end()  # it may be dead, or out of memory
            return
        loop = asyncio.get_running_loop()
        worker.idle = loop.call_later(_IDLE, self._retire, worker)
        self._idle.append(worker)

    def _retire(self, worker: _Worker) -> None:
        self._idle.remove(worker)
        self._tasks.start(worker.end(), "end an idle unpacking process")

    async def close(self) -> None:
        """End all workers that wait for work."""
        while self._idle:
            await self._idle.pop().end()


def _read(reply: dict[str, Any], diff_id: Digest) -> Unpacked:
    if "bad" in reply:
        raise BadImage(f"layer {diff_id}: {reply['bad']}")
    if "failed" in reply:
        raise RuntimeFailure(f"layer {diff_id} cannot be unpacked: {reply['failed']}")
    return Unpacked(reply["size"], reply["inodes"], tuple(reply["implied"]), reply["opaque"])
