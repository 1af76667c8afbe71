"""kill -9 at every step, a reboot, a firewall that is reloaded: no address twice, nothing left."""

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.network.hosts import ask, echo, refused, sh
from tests.support import nethost
from tests.support.nethost import Node, pod_config, port
from tests.support.shim import BIN

EFFECTS = 18
"""Things done for one pod's life, at least; the loop ends where the daemon survives."""

CGROUP = f"berth-test-{os.getpid()}-"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with nethost.node(tmp_path_factory.mktemp("node")) as found:
        yield found


def _config(name: str, at: int) -> cri.PodSandboxConfig:
    config = pod_config(name, port_mappings=[port(80, at), port(53, at, cri.UDP)])
    config.linux.cgroup_parent = f"/{CGROUP}{name}"
    return config


def _whole_life(node: Node, seen: dict[str, str]) -> None:
    seen["pod"] = node.run(_config("life", 9300))
    node.shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=seen["pod"]))
    seen["stopped"] = "yes"
    node.remove(seen["pod"])


@pytest.mark.timeout(200)
def test_kill_after_each_effect(node: Node) -> None:
    """A pod's whole life, killed after each thing done for it; another pod lives through it all."""
    resident = node.run(_config("resident", 9301))
    addresses = node.ips(resident)
    for number in itertools.count(1):
        node.shim.stop()
        node.shim.program = (
            sys.executable, "-m", "tests.support.network_failpoint", str(number)
        )  # fmt: skip
        node.shim.start()
        _check(node, resident, addresses, f"killed after effect {number - 1}")
        seen: dict[str, str] = {}
        with contextlib.suppress(grpc.RpcError):
            _whole_life(node, seen)
            break
        assert node.shim.process is not None
        assert node.shim.process.wait(timeout=20) == -signal.SIGKILL
    assert number > EFFECTS
    node.shim.program = (str(BIN / "cri-shim"),)
    node.shim.restart()
    node.remove(resident)


def _check(node: Node, resident: str, addresses: list[str], where: str) -> None:
    """The resident has its network, and whatever else is shown can be removed without a trace."""
    assert node.ips(resident) == addresses, where
    with echo(node.netns(resident), 80):
        assert ask(node.hosts.other, "192.0.2.1", 9301) == b"hello", where
    others = [
        pod.id
        for pod in node.shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items
        if pod.id != resident
    ]
    assert not set(addresses) & {ip for id_ in others for ip in node.ips(id_)}, where
    node.remove(*others)
    _check_left(node, resident, where)


def _check_left(node: Node, resident: str, where: str) -> None:
    link = f"bv{resident[:12]}"
    nethost.until(lambda: node.links() == [link], f"{where}: links {node.links()}")
    assert list(node.records()) == [resident], where
    assert [e[0]["concat"] for e in node.elements()] == [["tcp", 9301], ["udp", 9301]] * 2, where
    left = [thing for thing in node.leftovers() if resident not in thing]
    assert left == [], (where, left)
    assert list(Path("/sys/fs/cgroup").glob(f"*/{CGROUP}life")) == [], where


def test_addresses_come_back_after_a_power_cut(node: Node) -> None:
    """Their pods are gone and say so; every address of the subnet can be given out again."""
    before = [node.run(_config(f"before-{n}", 9310 + n)) for n in range(3)]
    assert len(node.records()) == 3
    node.power_cut()
    node.boot()
    assert node.records() == {}
    for id_ in before:
        assert node.status(id_).state == cri.SANDBOX_NOTREADY
        assert node.ips(id_) == []
    after = [node.run(_config(f"after-{n}", 9310 + n)) for n in range(3)]
    with echo(node.netns(after[0]), 80):
        assert ask(node.hosts.other, "192.0.2.1", 9310) == b"hello"
    node.remove(*before, *after)


def test_a_power_cut_in_the_middle_of_a_creation(node: Node) -> None:
    """The record is there, the namespace and the link are not."""
    node.shim.stop()
    node.shim.program = (sys.executable, "-m", "tests.support.network_failpoint", "8")
    node.boot()
    with pytest.raises(grpc.RpcError):
        node.run(_config("life", 9300))
    node.shim.program = (str(BIN / "cri-shim"),)
    assert len(node.records()) == 1
    node.power_cut()
    node.boot()
    assert node.left() == []


def test_the_firewall_is_reloaded(node: Node) -> None:
    """Reloads of a host's firewall begin with a flush of everything; ours comes back at once."""
    pod = node.run(_config("pod", 9320))
    with echo(node.netns(pod), 80), echo(node.hosts.other, 81):
        for change in ("flush ruleset", "delete table inet berth", "flush table inet berth"):
            sh(node.hosts.host, f"nft {change}")
            # A flushed table keeps its elements: only an answer shows that the rules are back.
            nethost.until(
                lambda: not refused(node.hosts.other, "192.0.2.1", 9320),
                f"published again after {change}",
            )
            assert len(node.elements()) == 4
            assert ask(node.netns(pod), "192.0.2.2", 81) == b"hello"
    node.shim.stop(signal.SIGKILL)
    sh(node.hosts.host, "nft flush ruleset")
    node.shim.start()
    with echo(node.netns(pod), 80):
        assert ask(node.hosts.other, "192.0.2.1", 9320) == b"hello"
    node.remove(pod)
    assert refused(node.hosts.other, "192.0.2.1", 9320)


def test_something_else_has_the_bridges_name(tmp_path: Path) -> None:
    """Nothing is done to it; pods are refused with the reason, and run once it is gone."""
    with nethost.node(tmp_path) as node:
        sh(node.hosts.host, "ip link add berth0 type veth peer name other")
        with pytest.raises(grpc.RpcError) as error:
            node.run(pod_config("early"))
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        why = "the host has a link berth0 that is no bridge but veth"
        assert why in str(error.value.details())
        condition = node.condition()
        assert (condition.status, condition.reason) == (False, "NetworkNotReady")
        assert why in condition.message
        assert "inet" not in sh(node.hosts.host, "ip addr show berth0")
        assert node.left() == []
        sh(node.hosts.host, "ip link del berth0")
        pod = node.run(pod_config("early"))
        assert node.condition().status
        node.remove(pod)


def test_the_bridge_is_deleted(node: Node) -> None:
    """By another program: the next pod finds it again, and so do those that were on it."""
    pod = node.run(_config("pod", 9330))
    sh(node.hosts.host, "ip link del berth0")
    other = node.run()
    with echo(node.netns(pod), 80):
        assert ask(node.netns(other), node.ips(pod)[0], 80) == b"hello"
    node.remove(pod, other)
