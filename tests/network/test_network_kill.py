"""kill -9 at every step of an attach and a detach: after recovery nothing of the pod is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.network.bridges import Bridges
from tests.network.die_at import STEPS
from tests.network.hosts import Hosts, ask, echo, port, sh

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def die(hosts: Hosts, step: str, netns: str, sandbox: str) -> None:
    folder = hosts.folder / "leases"
    done = subprocess.run(
        [sys.executable, HERE / "die_at.py", step, folder, hosts.host, netns, sandbox],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == -9, done.stderr.decode()


@pytest.mark.parametrize("step", STEPS)
async def test_nothing_is_left_when_the_sandbox_is_unknown(
    hosts: Hosts, bridges: Bridges, step: str
) -> None:
    pod = hosts.pod(1, port(80, 8080))
    die(hosts, step, pod.netns, pod.sandbox_id)
    await bridges.start()
    await bridges.stop()
    assert "bv0" not in sh(hosts.host, "ip -o link")
    assert bridges.leases.all() == {}
    assert "elements" not in sh(hosts.host, "nft list ruleset")
    network = await bridges.start()
    again = hosts.pod(2, port(80, 8080))
    attachment = await network.attach(again)
    with echo(again.netns, 80):
        assert ask(hosts.other, "192.0.2.1", 8080) == b"hello"
    assert attachment.ips == ("10.77.0.2", "fd77::2")


@pytest.mark.parametrize("step", ["after the lease", "after the host ports", "after the cut"])
async def test_a_known_sandbox_is_detached_as_ever(
    hosts: Hosts, bridges: Bridges, step: str
) -> None:
    pod = hosts.pod(1, port(80, 8080))
    die(hosts, step, pod.netns, pod.sandbox_id)
    network = await bridges.start(pod.sandbox_id)
    other = await network.attach(hosts.pod(2))
    assert other.ips == ("10.77.0.3", "fd77::3"), "the first address is still held"
    await network.detach(pod, {})
    await bridges.stop()
    assert "bv000000000001" not in sh(hosts.host, "ip -o link")
    assert "tcp . 8080" not in sh(hosts.host, "nft list table inet berth")
    assert pod.sandbox_id not in bridges.leases.all()
