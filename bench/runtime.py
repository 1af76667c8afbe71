"""What conmon and this process add to the bare OCI runtime: create + start, exec, stop.

    python -m bench.runtime [runc|crun] [ROUNDS]

Bare and own calls take turns in one run, so that load of the host falls on both. For crun the
program goes on in a mount namespace where crun works. Figures are milliseconds; ratios are of
the medians, with the quartiles of the single rounds beside them.
"""

import asyncio
import json
import os
import resource
import secrets
import shutil
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from berth.linux import processes
from berth.linux.files import remove_tree
from berth.linux.tasks import Tasks
from cri_shim.runtime import commands, conmon, execs, probe, subreaper
from cri_shim.runtime.exits import Exit, ExitWatcher
from cri_shim.runtime.handler import ENVIRONMENT, Handler
from tests.support import bundle, crun_host

OUT = Path(__file__).parent / "out"
TRUE = {
    "args": ["/bin/true"],
    "cwd": "/",
    "env": ["PATH=/bin"],
    "user": {"uid": 0, "gid": 0},
}
WIDTH = 8
_SETTLE = 0.03
NAMESPACES = ("mount", "pid")
"""As in a pod, whose containers join the others. A container that makes its own network namespace
waits for the kernel to take down that of the one before: tens of milliseconds of noise."""


@dataclass
class Pair:
    """Timings of the same job done bare and by us, round by round, in milliseconds."""

    bare: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        ratios = [own / bare for own, bare in zip(self.own, self.bare, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        bare, own = statistics.median(self.bare), statistics.median(self.own)
        return {
            "bare_ms": round(bare, 2),
            "own_ms": round(own, 2),
            "ratio": round(own / bare, 3),
            "ratio_q1": round(low, 3),
            "ratio_q3": round(high, 3),
        }


class Stand:
    """A directory, a handler and the containers of this run."""

    def __init__(self, kind: str, place: Path, handler: Handler) -> None:
        self.kind = kind
        self.place = place
        self.handler = handler
        self.rootfs = bundle.make_rootfs(place / "rootfs")
        self._count = 0

    def bundle(self) -> tuple[str, Path]:
        self._count += 1
        id = f"{self.place.name}-{self._count}"
        path = bundle.make_bundle(
            self.place / id, self.rootfs, ["sleep", "1000"], namespaces=NAMESPACES
        )
        (path / "persist").mkdir()
        return id, path

    async def bare(self, *words: str) -> None:
        process = processes.spawn(self.handler.argv(*words), env=ENVIRONMENT)
        code = await process.wait()
        process.close()
        assert code == 0, (words, code)

    async def clear(self, id: str) -> None:
        """Delete it, and let the kernel finish: it takes namespaces down in the background."""
        await commands.delete(self.handler, id, force=True)
        await asyncio.sleep(_SETTLE)

    async def own_create(self) -> tuple[str, Path, conmon.Created]:
        id, path = self.bundle()
        launch = conmon.Launch(id, path, self.handler, str(path / "log"), path / "persist")
        created = await conmon.create(launch, 60)
        await commands.start(self.handler, id)
        return id, path, created


async def timed(job: Awaitable[Any]) -> float:
    begin = time.perf_counter()
    await job
    return (time.perf_counter() - begin) * 1000


async def bring_up(stand: Stand, rounds: int) -> Pair:
    """create + start of the same container, in turns of either order."""
    pair = Pair()

    async def bare() -> None:
        id, path = stand.bundle()
        begin = time.perf_counter()
        await stand.bare("create", "--bundle", str(path), id)
        await stand.bare("start", id)
        pair.bare.append((time.perf_counter() - begin) * 1000)
        await stand.clear(id)

    async def own() -> None:
        begin = time.perf_counter()
        id, _, _ = await stand.own_create()
        pair.own.append((time.perf_counter() - begin) * 1000)
        await stand.clear(id)

    for turn in range(rounds):
        for job in (bare, own) if turn % 2 else (own, bare):
            await job()
    return pair


async def stops(stand: Stand, rounds: int) -> list[float]:
    """From SIGKILL to the reported exit."""
    figures = []
    async with Tasks() as tasks:
        watcher = ExitWatcher(tasks)
        for _ in range(rounds):
            id, path, made = await stand.own_create()
            figures.append(await timed(stop(watcher, id, path, made)))
            await stand.clear(id)
        watcher.close()
    return figures


async def stop(watcher: ExitWatcher, id: str, path: Path, made: conmon.Created) -> None:
    ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    numbers = (made.pid, made.pid_start, made.conmon_pid, made.conmon_start)
    watcher.watch(id, *numbers, path / "persist" / "exit", ended.set_result)
    pidfd = processes.open_pidfd(made.pid, made.pid_start)
    assert pidfd is not None
    processes.send_signal(pidfd, 9)
    assert (await ended).known
    os.close(pidfd)


async def exec_true(stand: Stand, rounds: int) -> tuple[Pair, Pair]:
    """/bin/true in a running container, one at a time and `WIDTH` at once (ms for each)."""
    id, _, _ = await stand.own_create()

    async def bare() -> None:
        await stand.bare("exec", id, "/bin/true")

    async def own() -> None:
        assert (await execs.exec_sync(stand.handler, id, TRUE, 60)).code == 0

    single, wide = Pair(), Pair()
    for _ in range(rounds):
        single.bare.append(await timed(bare()))
        single.own.append(await timed(own()))
    for _ in range(max(3, rounds // 4)):
        wide.bare.append(await timed(together(bare)) / WIDTH)
        wide.own.append(await timed(together(own)) / WIDTH)
    await commands.delete(stand.handler, id, force=True)
    return single, wide


async def together(job: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(job() for _ in range(WIDTH)))


async def measure(kind: str, rounds: int) -> dict[str, Any]:
    """All figures for one runtime."""
    subreaper.become_subreaper()
    place = Path(f"/run/berth-bench-{secrets.token_hex(4)}")
    place.mkdir()
    try:
        probes = []
        for _ in range(3):
            begin = time.perf_counter()
            handler = await probe.probe(kind, kind, place / kind, place)
            probes.append((time.perf_counter() - begin) * 1000)
        stand = Stand(kind, place, handler)
        async with Tasks() as tasks:
            tasks.start(subreaper.Orphans().run(0.5), "orphans")
            up = await bring_up(stand, rounds)
            ends = await stops(stand, rounds)
            single, wide = await exec_true(stand, rounds)
        return {
            "runtime": kind,
            "version": handler.features.version,
            "rounds": rounds,
            "probe_ms": round(statistics.median(probes), 1),
            "create_start": up.summary(),
            "exit_after_kill_ms": round(statistics.median(ends), 2),
            "exec": single.summary(),
            f"exec_{WIDTH}_at_once": wide.summary(),
        }
    finally:
        remove_tree(place)


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "runc"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    if kind == "crun" and "BERTH_BENCH_INSIDE" not in os.environ:
        environment = {**os.environ, "BERTH_BENCH_INSIDE": "1"}
        words = crun_host.command(sys.executable, "-m", "bench.runtime", kind, str(rounds))
        os.execvpe(shutil.which(words[0]) or words[0], words, environment)
    figures = asyncio.run(measure(kind, rounds))
    figures["max_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    OUT.mkdir(exist_ok=True)
    (OUT / f"runtime-{kind}.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
