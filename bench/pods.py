"""Pods through the socket, against the bare OCI runtime of the same container in the same run.

Bare and ours take turns, so that what the machine does meanwhile hits both alike.
"""

import concurrent.futures
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.daemon import IMAGE, daemon
from bench.result import Result, ratio, value
from berth.pb import runtime_v1_pb2 as cri
from tests.support import crun_host, pods
from tests.support.shim import Shim, conmons

SLEEP = ["/bin/sleep", "1000"]
OBEYS = ["/bin/sh", "-c", "trap 'exit 0' TERM; touch /ready; while :; do sleep 60 & wait; done"]
ROUNDS = 20
MANY = 50
POLLED = 100
POLL_SECONDS = 30


def run() -> list[Result]:
    """With runc here, with crun in a mount namespace where it works."""
    return measure("runc") + _in_namespace("crun")


def _in_namespace(kind: str) -> list[Result]:
    command = crun_host.command(sys.executable, "-m", "bench.pods", kind)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: list[Result] = json.loads(done.stdout)
    return found


def measure(kind: str) -> list[Result]:
    with daemon(kind) as shim:
        found = _pod_up(shim, kind, shim.directory.parent)
        found += _stop(shim, kind) + _many(shim, kind)
        return found + (_crowd(shim) if kind == "runc" else [])


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


class Bare:
    """A container's bundle run by the OCI runtime alone: `create`, then `start`."""

    def __init__(self, kind: str, directory: Path, bundle: Path) -> None:
        self._program = [kind, f"--root={directory}/bare"]
        self._bundle = bundle
        self._id = "bare-0"
        self._number = 0

    def up(self) -> None:
        self._number += 1
        self._id = f"bare-{os.getpid()}-{self._number}"
        self._run("create", "--bundle", str(self._bundle), self._id)
        self._run("start", self._id)

    def execute(self) -> None:
        self._run("exec", self._id, "/bin/true")

    def execute_words(self) -> list[str]:
        """The command line of `execute`."""
        return [*self._program, "exec", self._id, "/bin/true"]

    def down(self) -> None:
        self._run("delete", "--force", self._id)

    def _run(self, *words: str) -> None:
        null = subprocess.DEVNULL
        subprocess.run([*self._program, *words], check=True, stdin=null, stdout=null, stderr=null)


@contextlib.contextmanager
def bare(shim: Shim, kind: str, directory: Path) -> Iterator[Bare]:
    """The same container as ours: a created one lends its document and its root."""
    pod = pods.run_pod(shim)
    container = pods.create(shim, pod, pods.container_config(IMAGE, SLEEP))
    bundle = directory / "bundle"
    bundle.mkdir()
    document = json.loads((shim.state / "containers" / container / "config.json").read_text())
    document["linux"]["cgroupsPath"] = f"/berth-bench-{os.getpid()}"
    (bundle / "config.json").write_text(json.dumps(document))
    yield Bare(kind, directory, bundle)
    remove_pod(shim, pod)


def remove_pod(shim: Shim, pod: str) -> None:
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def one_pod(shim: Shim) -> tuple[str, str]:
    pod = pods.run_pod(shim)
    return pod, pods.run_container(shim, pod, pods.container_config(IMAGE, SLEEP))


def _pod_up(shim: Shim, kind: str, directory: Path) -> list[Result]:
    """RunPodSandbox to a running container; then ExecSync in it."""
    ours, theirs, execs, bare_execs = [], [], [], []
    with bare(shim, kind, directory) as runtime:
        for _ in range(ROUNDS):
            theirs.append(timed(runtime.up))
            bare_execs += [timed(runtime.execute) for _ in range(2)]
            runtime.down()
            made: list[tuple[str, str]] = []
            ours.append(timed(lambda made=made: made.append(one_pod(shim))))
            pod, container = made[0]
            execs += [timed(lambda c=container: pods.execute(shim, c, "/bin/true")) for _ in "12"]
            remove_pod(shim, pod)
    limit = 1.5 if kind == "runc" else 2.0
    return [
        value(f"{kind}: bare create + start", theirs, "ms"),
        value(f"{kind}: pod up (run, create, start)", ours, "ms"),
        ratio(f"{kind}: pod up / bare create + start", ours, theirs, at_most=limit),
        ratio(f"{kind}: ExecSync(/bin/true) / bare exec", execs, bare_execs, at_most=1.15),
    ]


def _stop(shim: Shim, kind: str) -> list[Result]:
    """A process that dies at the signal."""
    took = []
    for _ in range(ROUNDS):
        pod = pods.run_pod(shim)
        container = pods.run_container(shim, pod, pods.container_config(IMAGE, OBEYS))
        pods.until(
            lambda c=container: pods.execute(shim, c, "test", "-e", "/ready").exit_code == 0,
            "ready",
        )
        took.append(timed(lambda c=container: pods.stop(shim, c, 10)))
        remove_pod(shim, pod)
    return [value(f"{kind}: StopContainer", took, "ms", at_most=15)]


def _many(shim: Shim, kind: str) -> list[Result]:
    """The same number of pods one after another, and eight at a time."""

    def up(workers: int) -> float:
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            began = time.perf_counter()
            made = list(pool.map(lambda _: one_pod(shim), range(MANY)))
            spent = time.perf_counter() - began
            list(pool.map(lambda pair: remove_pod(shim, pair[0]), made))
        return spent

    sequential, parallel = [], []
    for _ in range(3):
        sequential.append(up(1))
        parallel.append(up(8))
    name = f"{kind}: rate of {MANY} pods 8-way / sequential"
    return [
        value(f"{kind}: pods up a second, 8-way", [MANY / s for s in parallel], "1/s"),
        ratio(name, sequential, parallel, at_least=2),
    ]


def _crowd(shim: Shim) -> list[Result]:
    """100 pods with two containers each: lists, idle CPU, memory."""
    empty = _memory(shim)
    containers = []
    for _ in range(POLLED):
        pod = pods.run_pod(shim)
        for name in ("a", "b"):
            config = pods.container_config(IMAGE, SLEEP, name=name)
            containers.append(pods.run_container(shim, pod, config))
    lists = [
        timed(lambda: shim.runtime.ListContainers(cri.ListContainersRequest())) for _ in range(200)
    ]
    statuses = [timed(lambda c=c: pods.status(shim, c)) for c in containers]
    full = _memory(shim)
    monitors = sum(_pss(pid) for pid in _monitors(shim)) / POLLED
    return [
        value("ListContainers of 200", lists, "ms", at_most=2),
        value("ContainerStatus", statuses, "ms", at_most=1),
        value("daemon RSS, 100 pods with 200 containers", [full], "MB", at_most=90),
        value("daemon RSS more per pod of 2 containers", [(full - empty) / POLLED], "MB"),
        value(
            "memory per pod of one container, conmon included",
            [(full - empty) / POLLED + monitors / 2],
            "MB",
            at_most=0.6,
        ),
        value("idle CPU, 100 pods polled as kubelet polls", [_polled(shim)], "%", at_most=3),
    ]


def _memory(shim: Shim) -> float:
    """Resident MB of the daemon."""
    assert shim.process is not None
    text = Path(f"/proc/{shim.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1000


def _monitors(shim: Shim) -> list[int]:
    wanted = set(conmons(shim.directory))
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsdecode(entry.read_bytes().replace(b"\0", b" ")) in wanted:
                found.append(int(entry.parent.name))
    return found


def _pss(pid: int) -> float:
    """MB, shared pages by share."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(text.split("Pss:")[1].split()[0]) / 1000
    return 0.0


def _polled(shim: Shim) -> float:
    """Percent of a core while relisting every second, statuses and stats at their periods."""
    assert shim.process is not None
    before = _cpu_seconds(shim.process.pid)
    began = time.monotonic()
    for second in range(POLL_SECONDS):
        shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest())
        shim.runtime.ListContainers(cri.ListContainersRequest())
        if second % 5 == 0:
            shim.runtime.Status(cri.StatusRequest())
        if second % 10 == 0:
            shim.runtime.ListContainerStats(cri.ListContainerStatsRequest())
            shim.images.ImageFsInfo(cri.ImageFsInfoRequest())
        if second % 30 == 0:
            shim.images.ListImages(cri.ListImagesRequest())
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))
    return (_cpu_seconds(shim.process.pid) - before) / (time.monotonic() - began) * 100


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    json.dump(measure(sys.argv[1]), sys.stdout)
