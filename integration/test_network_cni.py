"""Pods on CNI networks through the daemon, by real plugins and by ones that misbehave."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.linux.tasks import Tasks
from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.network.cni_directory import PASS_ON, REAL, CniHost, answer
from tests.cri_shim.network.hosts import Hosts, ask, echo, refused, sh
from tests.support import nethost
from tests.support.nethost import Node, pod_config, port

MISSING = "CNI plugin no-such-plugin is in none of"


class CniNode:
    """A node, its CNI directories, and what its plugins hold."""

    def __init__(self, node: Node, cni: CniHost) -> None:
        self.node = node
        self.cni = cni

    def refused(self, config: cri.PodSandboxConfig) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as error:
            self.node.run(config)
        return error.value.code(), str(error.value.details())

    def nothing_left(self) -> bool:
        """DEL may still run in the background."""
        return (
            self.node.records("attachment") == {}
            and self.cni.addresses() == []
            and "--dport" not in sh(self.node.hosts.host, "iptables -t nat -S")
        )


@contextlib.contextmanager
def _node(directory: Path, mode: str) -> Iterator[CniNode]:
    files = CniHost(Hosts(directory), Tasks())
    settings = {
        "network.mode": mode,
        "network.conf_dir": str(files.conf),
        "network.bin_dirs": f'["{files.bin}", "{REAL}"]',
        "network.plugin_timeout": "1",
    }
    with nethost.node(directory, settings) as node:
        yield CniNode(node, files)


@pytest.fixture
def cni(tmp_path: Path) -> Iterator[CniNode]:
    """A node of its own for each test: an address that a failed one leaves fails no other."""
    with _node(tmp_path, "cni") as found:
        yield found
        for path in [*found.cni.conf.iterdir(), *(found.cni.bin / "calls").glob("*")]:
            path.unlink()
        assert found.node.left() == []
        assert found.nothing_left()


def test_a_pod(cni: CniNode) -> None:
    """Both families, host ports and a limited rate, over a restart, and then all of it gone."""
    cni.cni.real()
    node = cni.node
    limit = {"kubernetes.io/egress-bandwidth": "10M"}
    mappings = [port(80, 8080), port(53, 5353, cri.UDP)]
    pod = node.run(pod_config(port_mappings=mappings, annotations=limit))
    friend = node.run()
    addresses = node.ips(pod)
    assert sorted(addresses + node.ips(friend)) == cni.cni.addresses()
    with echo(node.netns(pod), 80), echo(node.hosts.other, 81) as heard:
        assert ask(node.netns(friend), addresses[0], 80) == b"hello"
        assert ask(node.hosts.other, "192.0.2.1", 8080) == b"hello"
        assert ask(node.netns(pod), "192.0.2.2", 81) == b"hello"
        assert heard.peers == ["192.0.2.1"]
        node.shim.restart()
        assert node.ips(pod) == addresses
        assert ask(node.hosts.other, "192.0.2.1", 8080) == b"hello"
    assert "rate 10Mbit" in sh(node.hosts.host, "tc qdisc show")
    assert cni.node.condition().status
    node.remove(pod, friend)
    assert cni.nothing_left()
    assert refused(node.hosts.other, "192.0.2.1", 8080)


def test_auto(tmp_path: Path) -> None:
    """The bridge until a network list appears, then its plugins; each takes back what it gave."""
    with _node(tmp_path, "auto") as cni:
        _come_and_go(cni)


def _come_and_go(cni: CniNode) -> None:
    node = cni.node
    by_bridge = node.run(pod_config(port_mappings=[port(80, 8080)]))
    cni.cni.real()
    by_plugins = node.run(pod_config(port_mappings=[port(80, 8081)]))
    assert node.ips(by_bridge)[0].startswith("10.77.")
    assert node.ips(by_plugins)[0].startswith("10.78.")
    node.shim.restart()
    with echo(node.netns(by_bridge), 80), echo(node.netns(by_plugins), 80):
        assert ask(node.hosts.other, "192.0.2.1", 8080) == b"hello"
        assert ask(node.hosts.other, "192.0.2.1", 8081) == b"hello"
        assert ask(node.netns(by_plugins), node.ips(by_bridge)[0], 80) == b"hello"
    code, why = cni.refused(pod_config("late", port_mappings=[port(80, 8080)]))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "TCP 8080" in why
    (cni.cni.conf / "10-real.conflist").unlink()
    again = node.run()
    assert node.ips(again)[0].startswith("10.77.")
    node.remove(by_bridge, by_plugins, again)
    assert cni.nothing_left()


def test_a_plugin_that_hangs(cni: CniNode) -> None:
    """It is killed in time, the error says where, and other pods do not wait for it."""
    slow = f'case "$CNI_COMMAND$CNI_ARGS" in ADD*K8S_POD_NAME=slow\\;*) sleep 60;; esac; {PASS_ON}'
    cni.cni.write("10.conflist", *cni.cni.plugins(), cni.cni.fake("hangs", slow))
    refusals: list[tuple[grpc.StatusCode, str]] = []
    waiting = threading.Thread(target=lambda: refusals.append(cni.refused(pod_config("slow"))))
    waiting.start()
    nethost.until(lambda: bool(cni.cni.calls()), "the plugin hangs")
    pod = cni.node.run(pod_config("quick"))
    assert refusals == []
    waiting.join()
    [(code, why)] = refusals
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "CNI plugin hangs (ADD for network testnet) did not end within 1 s" in why
    cni.node.remove(pod)
    nethost.until(cni.nothing_left, "DEL of the slow pod")


def test_networks_that_are_not_ready(cni: CniNode) -> None:
    """Status and each refused pod say why; put right, pods run without a restart."""
    node, files = cni.node, cni.cni
    for write, says in [
        (lambda: None, f"no CNI network in {files.conf}"),
        (lambda: (files.conf / "10.conflist").write_text("{"), "10.conflist is not JSON"),
        (lambda: files.write("10.conflist", {"type": "no-such-plugin"}), MISSING),
    ]:
        write()
        condition = node.condition()
        assert (condition.status, condition.reason) == (False, "NetworkNotReady")
        assert says in condition.message
        code, why = cni.refused(pod_config("early"))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert says in why
        assert node.left() == []
    files.real("10.conflist")
    assert node.condition().status
    node.remove(node.run(pod_config("early")), node.run(nethost.pods.pod_config()))


def test_plugins_that_fail(cni: CniNode) -> None:
    """In the error are the plugin's own words; what others of the chain made is taken back."""
    for body, says in [
        ('[ $CNI_COMMAND = ADD ] && echo "no luck" >&2 && exit 1; exit 0', "no luck"),
        ('[ $CNI_COMMAND = ADD ] && echo "{}x"; exit 0', "printed something that is not a result"),
        ("exit 0", "printed no result"),
        (answer({"cniVersion": "1.0.0"}), "gave the pod no address on eth0"),
    ]:
        cni.cni.write("10.conflist", *cni.cni.plugins(), cni.cni.fake("fails", body))
        _, why = cni.refused(pod_config("unlucky", port_mappings=[port(80, 8080)]))
        assert says in why
        assert "pod test/unlucky" in why
        nethost.until(cni.nothing_left, "what the chain made")
        assert cni.node.left() == []


def test_a_del_that_fails(cni: CniNode) -> None:
    """Stop and removal do not wait for it; it is tried until it works, also after a restart."""
    broken = cni.cni.bin / "broken"
    broken.touch()
    stubborn = f"[ $CNI_COMMAND = DEL ] && [ -e {broken} ] && echo no >&2 && exit 1; {PASS_ON}"
    cni.cni.write("10.conflist", *cni.cni.plugins(), cni.cni.fake("stubborn", stubborn))
    pods = [cni.node.run(pod_config(f"{n}", port_mappings=[port(80, 8080 + n)])) for n in (1, 2)]
    cni.node.remove(pods[0])
    assert list(cni.node.records("attachment")) == sorted(pods)
    code, why = cni.refused(pod_config("next", port_mappings=[port(80, 8081)]))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "pod test/1" in why
    cni.node.shim.restart()
    cni.node.remove(pods[1])
    broken.unlink()
    nethost.until(cni.nothing_left, "DEL works")


@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_kill_during_a_plugin(cni: CniNode, command: str) -> None:
    """The daemon dies while a plugin runs; the next one finishes what was begun."""
    killer = cni.cni.fake("killer", f"[ $CNI_COMMAND = {command} ] && kill -9 $PPID; {PASS_ON}")
    cni.cni.write("10.conflist", *cni.cni.plugins(), killer)
    with pytest.raises(grpc.RpcError):
        cni.node.remove(cni.node.run(pod_config(port_mappings=[port(80, 8080)])))
    assert cni.node.shim.process is not None
    cni.node.shim.process.wait(timeout=20)
    cni.cni.fake("killer", PASS_ON)
    cni.node.shim.start()
    cni.node.shim.remove_everything()
    nethost.until(cni.nothing_left, "what plugins made is gone")


def test_a_power_cut(cni: CniNode) -> None:
    """host-local keeps its addresses on the disk: DEL gives them back without a namespace."""
    cni.cni.real()
    pod = cni.node.run(pod_config(port_mappings=[port(80, 8080)]))
    assert cni.cni.addresses() == cni.node.ips(pod)
    cni.node.power_cut()
    cni.node.boot()
    nethost.until(cni.nothing_left, "addresses are back")
    assert cni.node.status(pod).state == cri.SANDBOX_NOTREADY
    cni.node.remove(pod)
