"""What every `PodNetwork` that gives a pod an interface promises: the native bridge, and CNI with
the distribution's plugins bridge, host-local, portmap and bandwidth."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from berth.base.errors import InvalidArgument, ResourceExhausted, RuntimeFailure
from berth.base.findings import Level
from berth.linux import namespaces
from berth.linux.tasks import Tasks
from cri_shim.model import sandbox
from cri_shim.model.sandbox import PortMapping
from cri_shim.network.pod import PodNetwork
from tests.cri_shim.network.bridges import Bridges
from tests.cri_shim.network.cni_directory import CniHost
from tests.cri_shim.network.hosts import Hosts, ask, echo, port, refused, sh, until, wire

HOST, HOST6 = "192.0.2.1", "2001:db8::1"
OTHER, OTHER6 = "192.0.2.2", "2001:db8::2"


class Node(Protocol):
    """A host with one kind of network; each `start` is a restart of the daemon."""

    hosts: Hosts

    async def start(self, *known: str) -> PodNetwork: ...

    async def stop(self) -> None: ...

    def held(self) -> list[str]:
        """Addresses that the network's records give to pods."""

    def left(self) -> list[str]:
        """All that pods have on the host: addresses, records, links, published ports."""


class BridgeNode:
    def __init__(self, hosts: Hosts, tasks: Tasks) -> None:
        self.hosts = hosts
        self._bridges = Bridges(hosts, tasks)

    async def start(self, *known: str) -> PodNetwork:
        return await self._bridges.start(*known)

    async def stop(self) -> None:
        await self._bridges.stop()

    def held(self) -> list[str]:
        leases = self._bridges.leases.all().values()
        return sorted(address for lease in leases for address in lease["addresses"])

    def left(self) -> list[str]:
        rules = sh(self.hosts.host, "nft list ruleset")
        published = re.findall(r"elements = .*", rules)
        return [*self.held(), *_links(self.hosts, r"bv\w+"), *published]


class CniNode:
    def __init__(self, hosts: Hosts, tasks: Tasks) -> None:
        self.hosts = hosts
        self._cni = CniHost(hosts, tasks)
        self._cni.real()

    async def start(self, *known: str) -> PodNetwork:
        return await self._cni.start(*known)

    async def stop(self) -> None:
        await self._cni.stop()

    def held(self) -> list[str]:
        return self._cni.addresses()

    def left(self) -> list[str]:
        published = re.findall(
            r"--dport \d+ .*", sh(self.hosts.host, "iptables -t nat -S; ip6tables -t nat -S")
        )
        return [*self.held(), *self._cni.records.all(), *_links(self.hosts, r"veth\w+"), *published]


def _links(hosts: Hosts, pattern: str) -> list[str]:
    return re.findall(rf"^\d+: ({pattern})@", sh(hosts.host, "ip -o link"), re.M)


@pytest.fixture(params=[BridgeNode, CniNode], ids=["bridge", "cni"])
async def node(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Node]:
    hosts = Hosts(tmp_path)
    try:
        wire(hosts)
        async with Tasks() as tasks:
            made = request.param(hosts, tasks)
            try:
                yield made
            finally:
                await made.stop()
    finally:
        hosts.close()


async def nothing_left(node: Node) -> None:
    """Links are deleted in the background."""
    await until(lambda: node.left() == [])


async def test_addresses_are_on_the_interface_and_reached(node: Node) -> None:
    network = await node.start()
    one, two = node.hosts.pod(1), node.hosts.pod(2)
    first, second = await network.attach(one), await network.attach(two)
    assert len({*first.ips, *second.ips}) == 4, "each has an IPv4 and an IPv6 address of its own"
    assert sorted((*first.ips, *second.ips)) == sorted(node.held())
    shown = sh(one.netns, "ip -o addr show dev eth0")
    assert all(f" {ip}/" in shown for ip in first.ips)
    assert network.ready() is None
    assert [found for found in await network.findings() if found.level is Level.ERROR] == []
    with echo(one.netns, 80) as heard:
        for asker in (one.netns, two.netns, node.hosts.host):
            for address in first.ips:
                assert ask(asker, address, 80) == b"hello", (asker, address)
    assert set(second.ips) <= set(heard.peers), "a pod is seen with its own address"


async def test_packets_leave_the_node_with_its_address(node: Node) -> None:
    network = await node.start()
    pod = node.hosts.pod(1)
    await network.attach(pod)
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        # The plugin bridge forwards IPv6 only where it is a gateway of that family.
        sh(node.hosts.host, f"echo 1 > /proc/sys/net/{switch}")
    with echo(node.hosts.other, 99) as heard:
        assert ask(pod.netns, OTHER, 99) == b"hello"
        assert ask(pod.netns, OTHER6, 99) == b"hello"
    assert heard.peers == [HOST, HOST6]


async def test_a_host_port_is_open_while_the_pod_is_attached(node: Node) -> None:
    network = await node.start()
    pod, neighbour = node.hosts.pod(1, port(80, 8080)), node.hosts.pod(2)
    attachment = await network.attach(pod)
    await network.attach(neighbour)
    with echo(pod.netns, 80) as heard:
        assert ask(node.hosts.other, HOST, 8080) == b"hello"
        assert ask(node.hosts.other, HOST6, 8080) == b"hello"
        assert heard.peers == [OTHER, OTHER6], "who asks from outside is seen as it is"
        for asker in (node.hosts.host, neighbour.netns):
            assert ask(asker, HOST, 8080) == b"hello", asker
        assert ask(node.hosts.host, "127.0.0.1", 8080) == b"hello"
        assert refused(node.hosts.other, HOST, 80), "only the published port is there"
        await network.detach(pod, attachment.record)
        assert refused(node.hosts.other, HOST, 8080)
        assert refused(node.hosts.host, attachment.ips[0], 80), "cut off at once"


async def test_port_zero_publishes_nothing(node: Node) -> None:
    network = await node.start()
    one, two = (node.hosts.pod(number, port(80, 0)) for number in (1, 2))
    await network.attach(one)
    await network.attach(two)
    with echo(one.netns, 80):
        assert refused(node.hosts.other, HOST, 80)


async def test_rates_come_from_annotations(node: Node) -> None:
    network = await node.start()
    rates = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1G"}
    pod = node.hosts.pod(1, annotations=rates)
    attachment = await network.attach(pod)
    assert "rate 10Mbit" in sh(node.hosts.host, "tc qdisc show")
    with echo(pod.netns, 80):
        assert ask(node.hosts.host, attachment.ips[0], 80) == b"hello"
    await network.detach(pod, attachment.record)
    await nothing_left(node)


async def test_the_record_is_json_and_detach_may_come_twice(node: Node) -> None:
    network = await node.start()
    pod = node.hosts.pod(1, port(80, 8080), port(53, 53, sandbox.Protocol.UDP))
    attachment = await network.attach(pod)
    record = json.loads(json.dumps(attachment.record))
    assert record == attachment.record
    for _ in range(2):
        await network.detach(pod, record)
        await nothing_left(node)


async def test_detach_needs_neither_namespace_nor_record(node: Node) -> None:
    network = await node.start()
    pod = node.hosts.pod(1, port(80, 8080))
    await network.attach(pod)
    node.hosts.end(pod)
    await network.detach(pod, {})
    await nothing_left(node)
    await network.detach(node.hosts.pod(2), {})


async def test_attaching_again_replaces(node: Node) -> None:
    network = await node.start()
    pod = node.hosts.pod(1, port(80, 8080))
    await network.attach(pod)
    again = await network.attach(pod)
    assert sorted(again.ips) == sorted(node.held())
    with echo(pod.netns, 80):
        assert ask(node.hosts.other, HOST, 8080) == b"hello"
    await network.detach(pod, again.record)
    await nothing_left(node)


async def test_the_second_pod_on_a_host_port_is_refused(node: Node) -> None:
    network = await node.start()
    holder = node.hosts.pod(1, port(80, 8080))
    held = sorted((await network.attach(holder)).ips)
    for number, wanted in enumerate((port(81, 8080), port(81, 8080, host_ip=HOST)), 2):
        late = node.hosts.pod(number, port(82, 8082), wanted)
        with pytest.raises(ResourceExhausted, match=r"TCP 8080.*pod default/pod1 .*has"):
            await network.attach(late)
    assert sorted(node.held()) == held
    # Another protocol is another port, and a refused pod holds none of its others.
    await network.attach(node.hosts.pod(7, port(81, 8080, sandbox.Protocol.UDP), port(82, 8082)))
    await network.detach(holder, {})
    await network.attach(node.hosts.pod(8, port(81, 8080)))


@pytest.mark.parametrize(
    ("ports", "annotations", "text"),
    [
        ([port(80, 8080, host_ip="not-an-ip")], {}, "host_ip 'not-an-ip'"),
        ([port(80, 70000)], {}, "host_port 70000"),
        ([port(0, 80)], {}, "container_port 0"),
        ([port(80, 8080), port(81, 8080)], {}, "asks twice for host port TCP 8080"),
        ([], {"kubernetes.io/ingress-bandwidth": "fast"}, "ingress-bandwidth='fast'"),
    ],
)
async def test_a_bad_field_is_named_and_nothing_is_left(
    node: Node, ports: Sequence[PortMapping], annotations: dict[str, str], text: str
) -> None:
    network = await node.start()
    with pytest.raises(InvalidArgument, match=text):
        await network.attach(node.hosts.pod(1, port(1, 1), *ports, annotations=annotations))
    await nothing_left(node)


async def test_a_missing_namespace_fails_and_leaves_nothing(node: Node) -> None:
    network = await node.start()
    pod = node.hosts.pod(1, port(80, 8080))
    node.hosts.end(pod)
    with pytest.raises(RuntimeFailure, match="pod default/pod1: "):
        await network.attach(pod)
    await nothing_left(node)


async def test_recover_keeps_known_pods_and_removes_the_others(node: Node) -> None:
    network = await node.start()
    known, unknown = (node.hosts.pod(n, port(80, 8080 + n)) for n in (1, 2))
    attachment = await network.attach(known)
    await network.attach(unknown)
    network = await node.start(known.sandbox_id)
    await until(lambda: not any(unknown.sandbox_id[:12] in thing for thing in node.left()))
    assert sorted(node.held()) == sorted(attachment.ips)
    with echo(known.netns, 80):
        assert ask(node.hosts.other, HOST, 8081) == b"hello"
    with pytest.raises(ResourceExhausted, match="default/pod1"):
        await network.attach(node.hosts.pod(3, port(80, 8081)))
    await network.attach(node.hosts.pod(4, port(80, 8082)))
    network = await node.start()
    await nothing_left(node)


async def test_after_a_reboot_addresses_are_returned(node: Node) -> None:
    network = await node.start()
    known, unknown = node.hosts.pod(1, port(80, 8080)), node.hosts.pod(2)
    await network.attach(known)
    await network.attach(unknown)
    assert len(node.held()) == 4
    await node.stop()
    for name in ("host", "other", "pod1", "pod2"):
        namespaces.unpin(node.hosts.directory / name / "net")
        (node.hosts.directory / name).rmdir()
    wire(node.hosts)
    network = await node.start(known.sandbox_id)
    with pytest.raises(ResourceExhausted, match="default/pod1"):
        await network.attach(node.hosts.pod(3, port(80, 8080)))
    await network.detach(known, {})
    await nothing_left(node)


async def test_several_pods_at_once(node: Node) -> None:
    network = await node.start()
    pods = [node.hosts.pod(number, port(80, 8000 + number)) for number in range(1, 6)]
    made = await asyncio.gather(*(network.attach(pod) for pod in pods))
    assert len({ip for one in made for ip in one.ips}) == 10
    with echo(pods[2].netns, 80):
        assert ask(node.hosts.other, HOST, 8003) == b"hello"
    await asyncio.gather(*(network.detach(pod, {}) for pod in pods))
    assert refused(node.hosts.other, HOST, 8003)
    await nothing_left(node)


async def test_a_cancelled_attach_leaves_nothing(node: Node) -> None:
    network = await node.start()
    for steps in range(6):
        pod = node.hosts.pod(10 + steps, port(80, 8080))
        task = asyncio.ensure_future(network.attach(pod))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            await network.detach(pod, {})
        await nothing_left(node)


async def test_check_leaves_attached_pods_as_they_are(node: Node) -> None:
    network = await node.start()
    pod = node.hosts.pod(1, port(80, 8080))
    attachment = await network.attach(pod)
    await network.check()
    assert network.ready() is None
    assert sorted(node.held()) == sorted(attachment.ips)
    with echo(pod.netns, 80):
        assert ask(node.hosts.other, HOST, 8080) == b"hello"
