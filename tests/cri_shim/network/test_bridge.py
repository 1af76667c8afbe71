"""The native bridge on a host of the test's own, with another host on its wire."""

import asyncio
import re
import socket
from pathlib import Path

import pytest

from berth.base.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from berth.linux import namespaces
from cri_shim.model.namespaces import IdMapping
from cri_shim.model.sandbox import Protocol
from cri_shim.network.bridge.bridge import NativeBridge
from cri_shim.network.pod import PodNet
from tests.cri_shim.network.bridges import Bridges
from tests.cri_shim.network.hosts import Hosts, ask, echo, port, refused, sh, until

HOST, HOST6 = "192.0.2.1", "2001:db8::1"
OTHER, OTHER6 = "192.0.2.2", "2001:db8::2"


def links(hosts: Hosts) -> set[str]:
    return set(re.findall(r"^\d+: (bv\w+)@", sh(hosts.host, "ip -o link"), re.M))


def published(hosts: Hosts) -> str:
    return sh(hosts.host, "nft list table inet berth | grep -A99 elements || true")


def nothing_left(hosts: Hosts, bridges: Bridges) -> None:
    assert links(hosts) == set()
    assert bridges.leases.all() == {}
    assert "elements" not in sh(hosts.host, "nft list ruleset")


async def test_pods_reach_pods_and_the_host_in_both_families(
    hosts: Hosts, bridges: Bridges
) -> None:
    network = await bridges.start()
    one, two = hosts.pod(1), hosts.pod(2)
    first, second = await network.attach(one), await network.attach(two)
    assert first.ips == ("10.77.0.2", "fd77::2")
    assert second.ips == ("10.77.0.3", "fd77::3")
    assert network.ready() is None
    with echo(one.netns, 80) as heard, echo(hosts.host, 81) as at_host:
        for address in first.ips:
            assert ask(two.netns, address, 80) == b"hello"
            assert ask(hosts.host, address, 80) == b"hello"
        for address in ("10.77.0.1", "fd77::1", HOST, HOST6):
            assert ask(two.netns, address, 81) == b"hello"
    assert heard.peers == ["10.77.0.3", "10.77.0.1", "fd77::3", "fd77::1"]
    assert set(at_host.peers) == {"10.77.0.3", "fd77::3"}, "the pod keeps its address on the node"


@pytest.mark.parametrize("bridged_frames_meet_rules", ["1", "0"])
async def test_a_host_port_is_reached_from_everywhere(
    hosts: Hosts, bridges: Bridges, bridged_frames_meet_rules: str
) -> None:
    switch = "/proc/sys/net/bridge/bridge-nf-call-ip"
    sh(
        hosts.host,
        f"for f in {switch}tables {switch}6tables; do [ ! -e $f ] || "
        f"echo {bridged_frames_meet_rules} > $f; done",
    )
    network = await bridges.start()
    pod, neighbour = hosts.pod(1, port(80, 8080)), hosts.pod(2)
    await network.attach(pod)
    await network.attach(neighbour)
    with echo(pod.netns, 80) as heard:
        assert ask(hosts.other, HOST, 8080) == b"hello"
        assert ask(hosts.other, HOST6, 8080) == b"hello"
        assert heard.peers == [OTHER, OTHER6], "who asks from outside is seen as it is"
        for asker in (hosts.host, neighbour.netns, pod.netns):
            for address in (HOST, HOST6, "10.77.0.1", "fd77::1"):
                assert ask(asker, address, 8080) == b"hello", (asker, address)
        assert ask(hosts.host, "127.0.0.1", 8080) == b"hello"
        assert refused(hosts.other, HOST, 80), "only the published port is there"


async def test_udp_and_sctp_ports(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    pod = hosts.pod(1, port(53, 5353, Protocol.UDP), port(90, 9090, Protocol.SCTP))
    await network.attach(pod)
    with echo(pod.netns, 53, socket.SOCK_DGRAM):
        assert ask(hosts.other, HOST, 5353, socket.SOCK_DGRAM) == b"hello"
        assert ask(hosts.other, HOST6, 5353, socket.SOCK_DGRAM) == b"hello"
    assert "sctp . 9090 : 10.77.0.2 . 90" in published(hosts)
    assert refused(hosts.other, HOST, 5353), "TCP was not published"


async def test_a_udp_flow_from_before_finds_the_pod(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    await network.attach(hosts.pod(1))
    with namespaces.run_inside(
        hosts.other, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ) as client:
        client.connect((HOST, 5353))
        client.send(b"too early")
        pod = hosts.pod(2, port(53, 5353, Protocol.UDP))
        await network.attach(pod)
        client.settimeout(0.05)
        with echo(pod.netns, 53, socket.SOCK_DGRAM):
            await until(lambda: _answered(client))


def _answered(client: socket.socket) -> bool:
    try:
        client.send(b"hello")
        return client.recv(100) == b"hello"
    except OSError:
        return False


async def test_host_ip_is_respected(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    sh(hosts.host, "ip addr add 192.0.2.7/24 dev up0")
    one = hosts.pod(1, port(80, 8080, host_ip="192.0.2.7"), port(80, 8081, host_ip="127.0.0.1"))
    two = hosts.pod(2, port(80, 8080, host_ip=HOST), port(80, 8080, host_ip=HOST6))
    three = hosts.pod(3, port(80, 8082, host_ip="0.0.0.0"))
    for pod in (one, two, three):
        await network.attach(pod)
    with echo(one.netns, 80) as first, echo(two.netns, 80) as second, echo(three.netns, 80):
        ask(hosts.other, "192.0.2.7", 8080)
        assert (len(first.peers), len(second.peers)) == (1, 0)
        ask(hosts.other, HOST, 8080)
        ask(hosts.other, HOST6, 8080)
        assert (len(first.peers), len(second.peers)) == (1, 2)
        assert ask(hosts.host, "127.0.0.1", 8081) == b"hello"
        assert refused(hosts.other, HOST, 8081)
        assert ask(hosts.other, HOST, 8082) == b"hello"
        assert refused(hosts.other, HOST6, 8082), "0.0.0.0 means every IPv4 address"


async def test_a_pod_cannot_reach_the_hosts_loopback(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    pod = hosts.pod(1)
    await network.attach(pod)
    sh(
        pod.netns,
        "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet;"
        "ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local;"
        "ip route add 127.0.0.1 via 10.77.0.1 src 10.77.0.2",
    )
    with echo(hosts.host, 81) as heard:
        assert refused(pod.netns, "127.0.0.1", 81)
        assert heard.peers == []


async def test_port_zero_publishes_nothing(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    await network.attach(hosts.pod(1, port(80, 0)))
    assert published(hosts) == ""


async def test_a_full_subnet_says_so_and_takes_pods_again(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start(subnet=("10.77.0.0/30",))
    pod = hosts.pod(1)
    assert (await network.attach(pod)).ips == ("10.77.0.2",)
    with pytest.raises(ResourceExhausted, match=r"10\.77\.0\.0/30.* 1 addresses used, 0 free"):
        await network.attach(hosts.pod(2))
    await network.detach(pod, {})
    assert (await network.attach(hosts.pod(3))).ips == ("10.77.0.2",)


@pytest.mark.parametrize("what", ["flush ruleset", "delete table inet berth", "flush chain"])
async def test_a_firewall_reload_is_noticed(hosts: Hosts, bridges: Bridges, what: str) -> None:
    network = await bridges.start()
    pod = hosts.pod(1, port(80, 8080))
    await network.attach(pod)
    command = "flush chain inet berth hostports" if what == "flush chain" else what
    sh(hosts.host, f"nft {command}")
    with echo(pod.netns, 80), echo(hosts.other, 99) as heard:
        await until(lambda: not refused(hosts.other, HOST, 8080))
        ask(pod.netns, OTHER, 99)
        assert heard.peers == [HOST]


async def test_a_deleted_bridge_comes_back_with_its_pods(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    one, two = hosts.pod(1), hosts.pod(2)
    first = await network.attach(one)
    sh(hosts.host, "ip link del berth0")
    await network.attach(two)
    with echo(one.netns, 80):
        assert ask(two.netns, first.ips[0], 80) == b"hello"
        sh(hosts.host, "ip link del berth0")
        await network.check()
        assert ask(two.netns, first.ips[1], 80) == b"hello"


async def test_forwarding_is_switched_on_again(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    pod = hosts.pod(1)
    await network.attach(pod)
    assert sh(hosts.host, "cat /proc/sys/net/ipv4/ip_forward") == "0\n", "links only"
    sh(hosts.host, "sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.ipv4.ip_forward=0")
    await network.check()
    with echo(hosts.other, 99):
        assert ask(pod.netns, OTHER, 99) == b"hello"


async def test_a_leftover_link_of_the_same_name_gives_way(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    pod = hosts.pod(1)
    sh(hosts.host, "ip link add bv000000000001 type bridge")
    attachment = await network.attach(pod)
    with echo(pod.netns, 80):
        assert ask(hosts.host, attachment.ips[0], 80) == b"hello"


async def test_mtu_follows_the_uplink_and_no_router_is_believed(
    hosts: Hosts, bridges: Bridges
) -> None:
    network = await bridges.start()
    pod = hosts.pod(1)
    await network.attach(pod)
    assert "mtu 1400" in sh(pod.netns, "ip link show eth0")
    assert sh(pod.netns, "cat /proc/sys/net/ipv6/conf/eth0/accept_ra") == "0\n"
    assert "berth pod default/pod1" in sh(hosts.host, "ip link show bv000000000001")


async def test_bandwidth_comes_from_annotations(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    rates = {"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "40G"}
    pod = hosts.pod(1, annotations=rates)
    attachment = await network.attach(pod)
    assert "rate 10Mbit burst 14000b" in sh(hosts.host, "tc qdisc show dev bv000000000001")
    assert "rate 40Gbit" in sh(pod.netns, "tc qdisc show dev eth0")
    with echo(pod.netns, 80):
        assert ask(hosts.host, attachment.ips[0], 80) == b"hello"
    with pytest.raises(InvalidArgument, match="ingress-bandwidth='fast'"):
        await network.attach(hosts.pod(2, annotations={"kubernetes.io/ingress-bandwidth": "fast"}))
    assert links(hosts) == {"bv000000000001"}


async def test_ipv6_alone(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start(subnet=("fd77::/64",))
    pod = hosts.pod(1, port(80, 8080))
    attachment = await network.attach(pod)
    assert attachment.ips == ("fd77::2",)
    with echo(pod.netns, 80), echo(hosts.other, 99):
        assert ask(hosts.other, HOST6, 8080) == b"hello"
        assert ask(pod.netns, OTHER6, 99) == b"hello"


async def test_a_pod_in_a_user_namespace(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    directory = hosts.directory / "pod1"
    directory.mkdir()
    ids = [IdMapping(0, 100_000, 65_536)]
    userns = namespaces.pin_user(ids, ids, directory)
    hosts.made.append(userns)
    netns = namespaces.pin(["net"], directory, userns=userns)["net"]
    hosts.made.append(netns)
    pod = PodNet("1" * 64, "pod1", "default", "uid", str(netns), (port(80, 8080),))
    await network.attach(pod)
    with echo(pod.netns, 80):
        assert ask(hosts.other, HOST, 8080) == b"hello"


async def test_a_hundred_pods_eight_at_a_time(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    pods = [hosts.pod(number, port(80, 8000 + number)) for number in range(100)]
    turn = asyncio.Semaphore(8)

    async def attach(number: int) -> tuple[str, ...]:
        async with turn:
            return (await network.attach(pods[number])).ips

    ips = await asyncio.gather(*(attach(number) for number in range(100)))
    assert len({ip for pair in ips for ip in pair}) == 200
    with echo(pods[99].netns, 80):
        assert ask(hosts.other, HOST, 8099) == b"hello"
    await asyncio.gather(*(network.detach(pod, {}) for pod in pods))
    await bridges.stop()
    nothing_left(hosts, bridges)


async def test_findings_name_what_is_wrong(hosts: Hosts, bridges: Bridges) -> None:
    sh(hosts.host, "ip route add 10.77.0.128/25 via 192.0.2.2")
    network: NativeBridge = await bridges.start()
    texts = [found.text for found in await network.findings()]
    assert any("forwarding of IPv4 is off" in text for text in texts)
    assert any("10.77.0.0/24 overlaps the host's route 10.77.0.128/25 on up0" in t for t in texts)
    await network.attach(hosts.pod(1))
    texts = [found.text for found in await network.findings()]
    assert len(texts) == 1, texts


async def test_without_nft_it_is_not_ready(
    hosts: Hosts, bridges: Bridges, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = await bridges.start()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nft, which is not installed" in (network.ready() or "")
    assert network.ready() == (await network.findings())[0].text


async def test_it_becomes_ready_again_by_itself(hosts: Hosts, bridges: Bridges) -> None:
    """A node that is not ready gets no pod whose attach would try again."""
    network = await bridges.start()
    sh(hosts.host, "ip link add berth0 type veth peer name other")
    with pytest.raises(FailedPrecondition, match="berth0 that is no bridge but veth"):
        await network.attach(hosts.pod(1))
    await network.check()
    assert "no bridge but veth" in (network.ready() or "")
    assert network.ready() == (await network.findings())[0].text
    sh(hosts.host, "ip link del berth0")
    await network.check()
    assert network.ready() is None


async def test_a_subnet_of_before_goes_with_its_last_pod(hosts: Hosts, bridges: Bridges) -> None:
    network = await bridges.start()
    old = hosts.pod(1)
    await network.attach(old)
    await network.use_pod_cidr("10.90.0.0/24")
    assert (await network.attach(hosts.pod(2))).ips == ("10.90.0.2",)
    shown = sh(hosts.host, "ip -o addr show berth0; nft list table inet berth")
    assert {gateway in shown for gateway in ("10.77.0.1/24", "fd77::1/64", "10.90.0.1/24")} == {
        True
    }
    await network.detach(old, {})
    await network.check()
    shown = sh(hosts.host, "ip -o addr show berth0; nft list table inet berth")
    assert "77" not in re.sub("fe80[^ ]*", "", shown)
    assert "10.90.0.1/24" in shown
