"""kill -9 of the daemon loses nothing and leaves nothing; a reboot gives everything back."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.linux import mounts
from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import BIN, Shim, running

TICKS = ["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"]
IMAGE = "example.org/busybox:1"
WRITES = 16
"""Record writes of one pod's whole life, at least; the loop ends where the daemon survives."""


@pytest.fixture
def shim(tmp_path: Path, layout: Path) -> Iterator[Shim]:
    with running(tmp_path / "shim") as daemon:
        daemon.load(layout, IMAGE)
        yield daemon


def test_a_container_runs_on_without_the_daemon(shim: Shim, tmp_path: Path) -> None:
    config = pods.pod_config(log_directory=str(tmp_path))
    pod = pods.run_pod(shim, config)
    ticking = pods.container_config(IMAGE, TICKS, log_path="ticks.log")
    container = pods.run_container(shim, pod, ticking, config)
    before = pods.status(shim, container)
    shim.restart()
    assert pods.status(shim, container) == before
    count = len((tmp_path / "ticks.log").read_text().splitlines())
    pods.until(
        lambda: len((tmp_path / "ticks.log").read_text().splitlines()) > count + 5, "more log"
    )
    assert pods.execute(shim, container, "echo", "hi").stdout == b"hi\n"
    pods.stop(shim, container)
    assert pods.status(shim, container).exit_code == 137
    numbers = [int(line.split()[-1]) for line in (tmp_path / "ticks.log").read_text().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_exit_while_the_daemon_is_away(shim: Shim) -> None:
    pod = pods.run_pod(shim)
    command = ["/bin/sh", "-c", "trap 'exit 9' TERM; touch /ready; while :; do sleep 0.05; done"]
    container = pods.run_container(shim, pod, pods.container_config(IMAGE, command))
    pods.until(
        lambda: pods.execute(shim, container, "test", "-e", "/ready").exit_code == 0, "ready"
    )
    verbose = cri.ContainerStatusRequest(container_id=container, verbose=True)
    pid = int(shim.runtime.ContainerStatus(verbose).info["pid"])
    shim.stop(signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    pods.until(lambda: not Path(f"/proc/{pid}").exists(), "process gone")
    shim.start()
    ended = pods.until_exited(shim, container)
    assert (ended.exit_code, ended.reason) == (9, "Error")


def test_a_reboot_ends_everything(shim: Shim) -> None:
    """A boot is told by its id: records of another boot are of a host that went down."""
    pod = pods.run_pod(shim, pods.pod_config(host_network=False))
    config = pods.pod_config(host_network=False)
    container = pods.run_container(shim, pod, pods.container_config(IMAGE), config)
    pods.stop(shim, container)
    running_one = pods.container_config(IMAGE, name="runs")
    survivor = pods.create(shim, pod, running_one, config)
    shim.stop(signal.SIGKILL)
    with sqlite3.connect(shim.root / "state.db") as db:
        for table in ("sandboxes", "containers"):
            db.execute(f"UPDATE {table} SET document = json_set(document, '$.boot', 'before')")
        db.execute("UPDATE meta SET value = 'before' WHERE key = 'boot'")
    db.close()
    shim.start()
    ended = pods.status(shim, survivor)
    assert (ended.state, ended.exit_code) == (cri.CONTAINER_EXITED, 255)
    assert "rebooted" in ended.message
    status = shim.runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=pod)).status
    assert status.state == cri.SANDBOX_NOTREADY


def test_two_daemons_on_one_socket(shim: Shim) -> None:
    second = subprocess.run(shim.command(), capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"another daemon serves on {shim.socket}" in second.stderr
    assert shim.runtime.Version(cri.VersionRequest()).runtime_name == "berth"


def _whole_life(shim: Shim, seen: dict[str, str]) -> None:
    """Run, create, start, stop, remove; what the client learnt is in `seen`."""
    config = pods.pod_config("life", host_network=False)
    seen["pod"] = pods.run_pod(shim, config)
    seen["container"] = pods.create(shim, seen["pod"], pods.container_config(IMAGE), config)
    pods.start(shim, seen["container"])
    seen["started"] = "yes"
    pods.stop(shim, seen["container"])
    seen["stopped"] = "yes"
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=seen["pod"]))


@pytest.mark.timeout(300)
def test_kill_at_every_write_of_the_records(shim: Shim) -> None:
    """At each write, before and after: what was answered is true, the rest is gone."""
    tries = [(number, when) for number in range(1, 40) for when in ("before", "after")]
    survived = next(number for number, when in tries if _survives(shim, number, when))
    assert survived > WRITES


def _survives(shim: Shim, number: int, when: str) -> bool:
    """Whether the daemon outlives a pod's whole life: then every write has been tried."""
    shim.stop()
    shim.program = (sys.executable, "-m", "tests.support.failpoint", str(number), when)
    shim.start()
    seen: dict[str, str] = {}
    with contextlib.suppress(grpc.RpcError):
        _whole_life(shim, seen)
        return True
    assert shim.process is not None
    assert shim.process.wait(timeout=20) == -signal.SIGKILL
    shim.program = (str(BIN / "cri-shim"),)
    shim.start()
    _check(shim, seen, f"killed {when} write {number}, client knew {seen}")
    return False


def _check(shim: Shim, seen: dict[str, str], where: str) -> None:
    """What the client was told is so; a new pod of that name runs; then nothing is left."""
    listed = shim.runtime.ListContainers(cri.ListContainersRequest()).containers
    states = {c.id: c.state for c in listed}
    if "container" in seen and "stopped" not in seen:
        assert seen["container"] in states, where
    if "started" in seen and seen["container"] in states:
        assert states[seen["container"]] in (cri.CONTAINER_RUNNING, cri.CONTAINER_EXITED), where
    if "stopped" in seen and seen["container"] in states:
        assert states[seen["container"]] == cri.CONTAINER_EXITED, where
    for pod in shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items:
        shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod.id))
    assert shim.leftovers() == [], where
    retry = pods.pod_config("life", host_network=False)
    pod_id = pods.run_pod(shim, retry)
    pods.run_container(shim, pod_id, pods.container_config(IMAGE), retry)
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod_id))


def test_what_resisted_its_removal_goes_once_it_can(shim: Shim) -> None:
    """No client sees it any more, so the daemon itself has to come back to it."""
    shim.stop()
    shim.program = (sys.executable, "-m", "tests.support.eager_retry")
    shim.start()
    pod = pods.run_pod(shim)
    busy = shim.state / "pods" / pod / "busy"
    busy.mkdir()
    mounts.tmpfs(str(busy), 1 << 16, 0o700)
    with pytest.raises(grpc.RpcError):
        shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
    assert list(shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items) == []
    mounts.unmount(busy)
    pods.until(lambda: shim.leftovers() == [], "the pod's directory is gone")
