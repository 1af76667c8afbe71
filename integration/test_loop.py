"""No callback holds the daemon's event loop: one slow call must not slow all the others."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import loop_watch, pods
from tests.support.shim import Shim, running

WORKERS = 3
ROUNDS = 3


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose parents let others pass: root of a user namespace is one of them."""
    with tempfile.TemporaryDirectory(prefix="berth-test-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture
def shim(place: Path, layout: Path, image: str, handler_settings: dict[str, str]) -> Iterator[Shim]:
    with running(place / "shim", handler_settings) as daemon:
        daemon.load(layout, image)
        daemon.stop()
        report = str(place / "report")
        daemon.program = (sys.executable, "-m", "tests.support.loop_watch", report)
        daemon.start()
        yield daemon


def kinds(shim: Shim) -> list[tuple[cri.PodSandboxConfig, str]]:
    """One pod of each sort, with its handler: plain, with an init, with a user namespace."""
    plain, shared = (pods.pod_config(host_network=False) for _ in range(2))
    plain.linux.security_context.namespace_options.pid = cri.CONTAINER
    found = [(plain, "runc"), (shared, "crun")]
    status = shim.runtime.Status(cri.StatusRequest())
    mapping = next((h.name for h in status.runtime_handlers if h.features.user_namespaces), None)
    if mapping is not None:
        mapped = pods.pod_config(host_network=False)
        options = mapped.linux.security_context.namespace_options
        options.pid = cri.CONTAINER
        for mappings in (options.userns_options.uids, options.userns_options.gids):
            mappings.add(container_id=0, host_id=400_000, length=1 << 16)
        found.append((mapped, mapping))
    return found


def live(shim: Shim, image: str, config: cri.PodSandboxConfig, handler: str) -> None:
    """The life of one pod with two containers, with all that a kubelet asks meanwhile."""
    pod = pods.run_pod(shim, config, handler)
    for name in ("a", "b"):
        wanted = pods.container_config(image, name=name, log_path=f"{name}.log")
        wanted.mounts.add(host_path="/etc", container_path="/host", readonly=True)
        wanted.linux.resources.memory_limit_in_bytes = 64 << 20
        mine = wanted.linux.security_context.namespace_options
        theirs = config.linux.security_context.namespace_options
        mine.pid = theirs.pid
        if theirs.HasField("userns_options"):
            mine.userns_options.CopyFrom(theirs.userns_options)
        container = pods.run_container(shim, pod, wanted, config)
        for _ in range(3):
            assert pods.execute(shim, container, "true").exit_code == 0
        linux = cri.LinuxContainerResources(cpu_shares=512)
        request = cri.UpdateContainerResourcesRequest(container_id=container, linux=linux)
        shim.runtime.UpdateContainerResources(request)
        shim.runtime.ContainerStats(cri.ContainerStatsRequest(container_id=container))
        pods.status(shim, container)
    ask(shim)
    shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod))
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def ask(shim: Shim) -> None:
    """Every list, status and reading of the node."""
    shim.runtime.Status(cri.StatusRequest(verbose=True))
    shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest())
    shim.runtime.ListContainers(cri.ListContainersRequest())
    shim.runtime.ListContainerStats(cri.ListContainerStatsRequest())
    shim.runtime.ListPodSandboxStats(cri.ListPodSandboxStatsRequest())
    shim.runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest())
    shim.images.ListImages(cri.ListImagesRequest())
    shim.images.ImageFsInfo(cri.ImageFsInfoRequest())


def images_come_and_go(shim: Shim, layout: Path) -> None:
    for number in range(ROUNDS):
        name = f"example.org/other:{number}"
        shim.load(layout, name)
        shim.images.ImageStatus(cri.ImageStatusRequest(image=cri.ImageSpec(image=name)))


PROGRAM = """
import asyncio, sys, time
from tests.support.loop_watch import Watch

def sleep():
    time.sleep(0.04)

def compute():
    end = time.thread_time() + 0.04
    while time.thread_time() < end:
        pass

async def wait():
    await asyncio.sleep(0.04)

async def main():
    Watch(open(sys.argv[1], "a")).start()
    for number in range(8):
        asyncio.get_running_loop().call_soon(sleep)
        asyncio.get_running_loop().call_soon(compute)
        await wait()

asyncio.run(main())
"""


def test_the_watch_tells_what_holds_the_loop(tmp_path: Path) -> None:
    """One that sleeps and one that computes, and not one that awaits."""
    report = tmp_path / "report"
    subprocess.run([sys.executable, "-c", PROGRAM, str(report)], check=True, timeout=60)
    found = sorted(place.split()[1] for place in loop_watch.offenders(report))
    assert found == ["compute", "sleep"]


@pytest.mark.timeout(300)
def test_no_callback_holds_the_loop(shim: Shim, image: str, layout: Path, place: Path) -> None:
    with ThreadPoolExecutor(WORKERS + 1) as workers:
        lives = [
            workers.submit(live, shim, image, config, handler)
            for _ in range(ROUNDS)
            for config, handler in kinds(shim)
        ]
        lives.append(workers.submit(images_come_and_go, shim, layout))
        for one in lives:
            one.result(200)
    assert loop_watch.offenders(place / "report") == {}
