"""Real containers for tests, behind conmon, each with its directories and its end."""

import asyncio
import contextlib
import itertools
import os
import signal
from pathlib import Path
from typing import Any

from berth.linux import processes
from berth.linux.files import remove_tree
from cri_shim.runtime import commands, conmon
from cri_shim.runtime.exits import Exit, ExitWatcher
from cri_shim.runtime.handler import ENVIRONMENT, Handler
from tests.support import bundle

_numbers = itertools.count(1)


def process(*args: str, **fields: Any) -> dict[str, Any]:
    """An OCI process that runs `args` as root."""
    return {
        "args": list(args),
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
        **fields,
    }


class Box:
    """One container: its directories, what create returned, and its end."""

    def __init__(self, handler: Handler, place: Path, watcher: ExitWatcher) -> None:
        self.handler = handler
        self.id = f"berth-rt-{place.name[-8:]}-{next(_numbers)}"
        self.directory = place / self.id
        self.bundle = self.directory / "bundle"
        self.persist = self.directory / "persist"
        self.log = self.directory / "log" / "0.log"
        self.rootfs = place / "rootfs"
        self.watcher = watcher
        self.created: conmon.Created | None = None
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        for directory in (self.bundle, self.persist, self.log.parent):
            directory.mkdir(parents=True)

    def launch(self, *args: str, **options: Any) -> conmon.Launch:
        """Write the bundle; `spec` options go to the document, the others to conmon."""
        spec = options.pop("spec", {})
        terminal = options.get("terminal", False)
        bundle.make_bundle(
            self.bundle, self.rootfs, args, terminal=terminal, cgroups_path=f"/{self.id}", **spec
        )
        fields = {"log": str(self.log), "persist": self.persist, **options}
        return conmon.Launch(self.id, self.bundle, self.handler, **fields)

    async def call_runtime(self, *words: str) -> None:
        """A command of the OCI runtime that the daemon itself never gives."""
        result = await processes.run(self.handler.argv(*words), timeout=20, env=ENVIRONMENT)
        assert result.code == 0, result.stderr

    async def create(self, *args: str, **options: Any) -> "Box":
        self.created = await conmon.create(self.launch(*args, **options), 20)
        self.watch()
        return self

    def watch(self) -> None:
        made = self.created
        assert made is not None
        self.watcher.watch(
            self.id,
            made.pid,
            made.pid_start,
            made.conmon_pid,
            made.conmon_start,
            self.persist / "exit",
            self._end,
        )

    def _end(self, exit: Exit) -> None:
        if not self.ended.done():
            self.ended.set_result(exit)

    async def run(self, *args: str, **options: Any) -> "Box":
        await self.create(*args, **options)
        await commands.start(self.handler, self.id)
        return self

    @property
    def pid(self) -> int:
        assert self.created is not None
        return self.created.pid

    async def end(self) -> Exit:
        return await asyncio.wait_for(asyncio.shield(self.ended), 20)

    async def stop(self) -> Exit:
        os.kill(self.pid, signal.SIGKILL)
        return await self.end()

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    async def clean(self) -> None:
        self.watcher.forget(self.id)
        await commands.delete(self.handler, self.id, force=True)
        if self.created is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.created.conmon_pid, signal.SIGKILL)
        remove_tree(self.directory)


class Boxes:
    def __init__(self, handler: Handler, place: Path, watcher: ExitWatcher) -> None:
        self.handler = handler
        self.place = place
        self.watcher = watcher
        self.made: list[Box] = []

    def new(self, handler: Handler | None = None) -> Box:
        box = Box(handler or self.handler, self.place, self.watcher)
        self.made.append(box)
        return box

    async def run(self, *args: str, **options: Any) -> Box:
        return await self.new().run(*args, **options)


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait for a fact of the outside world that nobody announces."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)
