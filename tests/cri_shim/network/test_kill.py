"""kill -9 at every step of an attach and a detach: after recovery nothing of the pod is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cri_shim.network.bridges import Bridges
from tests.cri_shim.network.cni_directory import PASS_ON, CniHost
from tests.cri_shim.network.die_at import STEPS
from tests.cri_shim.network.hosts import Hosts, ask, echo, port, sh, until

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def die(hosts: Hosts, step: str, netns: str, sandbox: str) -> None:
    directory = hosts.directory / "leases"
    run_until_killed("die_at.py", step, str(directory), hosts.host, netns, sandbox)


def run_until_killed(script: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, HERE / script, *arguments],
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


@pytest.mark.parametrize("at", ["ADD", "DEL"])
@pytest.mark.parametrize("place", [0, 1, 3])
async def test_a_kill_during_a_plugin_is_taken_back(
    hosts: Hosts, cni: CniHost, at: str, place: int
) -> None:
    """The plugin at this place of the chain kills who called it, before or after the others."""
    killer = cni.fake("killer", f'[ "$CNI_COMMAND" = {at} ] && kill -9 $PPID; {PASS_ON}')
    plugins = cni.plugins()
    cni.write("10.conflist", *plugins[:place], killer, *plugins[place:])
    pod = hosts.pod(1, port(80, 8080))
    paths = (str(path) for path in (cni.conf, cni.bin, cni.records.directory))
    run_until_killed("die_in_plugin.py", *paths, hosts.host, pod.netns, pod.sandbox_id)
    assert cni.records.all().keys() == {pod.sandbox_id}
    cni.fake("killer")
    await cni.start()
    await until(lambda: cni.records.all() == {})
    assert cni.addresses() == []
    assert "8080" not in sh(hosts.host, "iptables -t nat -S")
