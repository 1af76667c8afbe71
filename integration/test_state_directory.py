"""Volatile state where hosts have it: below /run, where neither programs nor devices work."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.linux import mounts
from berth.linux.mounts import Flag
from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.mounts import unmount_all
from tests.support.shim import Shim, running


@pytest.fixture
def shim(
    tmp_path: Path, layout: Path, handler_settings: dict[str, str], image: str
) -> Iterator[Shim]:
    run = tmp_path / "run"
    run.mkdir()
    mounts.tmpfs(run, 64 << 20, flags=Flag.NOSUID | Flag.NODEV | Flag.NOEXEC)
    try:
        settings = {**handler_settings, "state": str(run / "cri")}
        with running(tmp_path / "shim", settings) as daemon:
            daemon.load(layout, image)
            yield daemon
        assert mounts.mounts_below(run) == []
    finally:
        unmount_all(run)


def test_pods_run(shim: Shim, image: str) -> None:
    """The init of a shared PID namespace is a program of ours; after kill -9 all goes on."""
    for handler in ("runc", "crun"):
        config = pods.pod_config(host_network=False)
        pod = pods.run_pod(shim, config, handler)
        container = pods.container_config(image)
        container.linux.security_context.namespace_options.pid = cri.POD
        first = pods.run_container(shim, pod, container, config)
        shim.restart()
        container.metadata.name = "second"
        second = pods.run_container(shim, pod, container, config)
        for one in (first, second):
            answer = pods.execute(shim, one, "/bin/sh", "-c", "cat; cat /proc/1/comm")
            assert answer.stdout == b"init\n"
