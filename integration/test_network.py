"""A pod's network by the native bridge: who reaches whom, seen from inside and from outside."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.network.hosts import ask, echo, refused, sh
from tests.support import nethost, pods
from tests.support.nethost import Node, pod_config, port
from tests.support.shim import conmons

IMAGE = "example.org/busybox:1"
UDP = socket.SOCK_DGRAM


@pytest.fixture(scope="module")
def node(layout: Path, handler_settings: dict[str, str]) -> Iterator[Node]:
    """In a directory whose parents let a user namespace pass, which those of pytest do not."""
    with tempfile.TemporaryDirectory(prefix="berth-test-") as directory:
        Path(directory).chmod(0o711)
        with nethost.node(Path(directory), handler_settings) as found:
            found.shim.load(layout, IMAGE)
            yield found


def test_addresses(node: Node) -> None:
    """One of each family, the IPv4 one first; the same from inside; kept when the pod stops."""
    pod = node.run()
    four, six = node.ips(pod)
    assert four.startswith("10.77.0.")
    assert six.startswith("fd77::")
    shown = sh(node.netns(pod), "ip -o addr show eth0; ip route; ip -6 route; ip -o link show lo")
    assert f"{four}/24" in shown
    assert f"{six}/64" in shown
    assert "default via 10.77.0.1" in shown
    assert "default via fd77::1" in shown
    assert "UP,LOWER_UP" in shown.splitlines()[-1]
    assert node.condition().status
    node.remove(pod)


def test_pods_reach_each_other_and_the_host(node: Node) -> None:
    first, second = node.run(), node.run()
    with echo(node.netns(first), 80) as heard:
        for address in node.ips(first):
            assert ask(node.netns(second), address, 80) == b"hello"
            assert ask(node.hosts.host, address, 80) == b"hello"
    assert heard.peers[::2] == node.ips(second)
    with echo(node.hosts.host, 81):
        for address in ("10.77.0.1", "fd77::1", "192.0.2.1", "2001:db8::1"):
            assert ask(node.netns(first), address, 81) == b"hello"
    node.remove(first, second)


def test_what_leaves_the_node_has_the_nodes_address(node: Node) -> None:
    """The other machine has no route to pods: only masquerading brings the answer back."""
    pod = node.run()
    with echo(node.hosts.other, 80) as heard, echo(node.hosts.other, 53, UDP) as heard_udp:
        for address in ("192.0.2.2", "2001:db8::2"):
            assert ask(node.netns(pod), address, 80) == b"hello"
            assert ask(node.netns(pod), address, 53, UDP) == b"hello"
    assert heard.peers == heard_udp.peers == ["192.0.2.1", "2001:db8::1"]
    node.remove(pod)


def test_a_port_of_the_host(node: Node) -> None:
    """From another machine, from the host itself, from a pod, and from the pod to itself."""
    pod = node.run(pod_config(port_mappings=[port(80, 8080), port(53, 5353, cri.UDP)]))
    friend = node.run()
    with echo(node.netns(pod), 80) as heard, echo(node.netns(pod), 53, UDP):
        for address in ("192.0.2.1", "2001:db8::1"):
            for client in (node.hosts.other, node.netns(friend), node.netns(pod)):
                assert ask(client, address, 8080) == b"hello"
                assert ask(client, address, 5353, UDP) == b"hello"
        assert ask(node.hosts.host, "127.0.0.1", 8080) == b"hello"
    assert heard.peers[0] == "192.0.2.2"  # who really asked
    node.remove(pod, friend)
    assert refused(node.hosts.other, "192.0.2.1", 8080)


def test_a_port_of_one_address_of_the_host(node: Node) -> None:
    mappings = [
        port(80, 8081, host_ip="192.0.2.1"),
        port(80, 8082, host_ip="2001:db8::1"),
        port(80, 8083, host_ip="127.0.0.1"),
        port(80, 8084, host_ip="::"),
        port(80, 8085, host_ip="0.0.0.0"),
    ]
    pod = node.run(pod_config(port_mappings=mappings))
    with echo(node.netns(pod), 80):
        for address, at in [
            ("192.0.2.1", 8081), ("2001:db8::1", 8082), ("2001:db8::1", 8084), ("192.0.2.1", 8085)
        ]:  # fmt: skip
            assert ask(node.hosts.other, address, at) == b"hello"
        assert ask(node.hosts.host, "127.0.0.1", 8083) == b"hello"
        for address, at in [
            ("2001:db8::1", 8081), ("192.0.2.1", 8082), ("192.0.2.1", 8083),
            ("192.0.2.1", 8084), ("2001:db8::1", 8085),
        ]:  # fmt: skip
            assert refused(node.hosts.other, address, at)
    node.remove(pod)


def test_two_pods_want_one_port(node: Node) -> None:
    first = node.run(pod_config("first", port_mappings=[port(80, 9000)]))
    free = len(node.records())
    second_config = pod_config("second", port_mappings=[port(81, 9001), port(80, 9000)])
    second_config.linux.security_context.namespace_options.pid = cri.POD  # starts an init besides
    with pytest.raises(grpc.RpcError) as error:
        node.run(second_config)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "test/first" in error.value.details()
    assert "TCP 9000" in error.value.details()
    assert len(node.records()) == free
    assert len(node.shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items) == 1
    assert conmons(node.shim.directory) == []
    udp = node.run(pod_config(port_mappings=[port(80, 9000, cri.UDP), port(80, 9001)]))
    node.remove(first)
    second = node.run(pod_config("second", port_mappings=[port(80, 9000)]))
    node.remove(udp, second)


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        (port(80, 70000), "host_port 70000 is not in 0 to 65535"),
        (port(0, 80), "container_port 0 is not in 1 to 65535"),
        (port(80, 80, host_ip="localhost"), "host_ip 'localhost' is not an IPv4 or IPv6 address"),
        (port(80, -1), "host_port -1"),
    ],
)
def test_a_mapping_that_is_none(node: Node, mapping: cri.PortMapping, says: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        node.run(pod_config("bad", port_mappings=[mapping]))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.value.details()
    assert node.records() == {}


def test_mappings_that_ask_for_nothing_or_for_sctp(node: Node) -> None:
    """host_port 0 publishes nothing; host network ignores mappings."""
    pod = node.run(pod_config(port_mappings=[port(80, 0), port(132, 9132, cri.SCTP)]))
    assert [e[0]["concat"] for e in node.elements()] == [["sctp", 9132], ["sctp", 9132]]
    hosts = node.run(pods.pod_config(port_mappings=[port(80, 9132, cri.SCTP)]))
    assert node.ips(hosts) == []
    node.remove(pod, hosts)


def test_names_inside_the_pod(node: Node, tmp_path: Path) -> None:
    """Hostname, resolv.conf by DNSConfig, /etc/hosts as the client mounts it, sysctls."""
    hosts = tmp_path / "hosts"
    hosts.write_text("10.9.9.9 friend.example\n")
    config = pod_config(hostname="web-0")
    config.dns_config.servers.extend(["10.96.0.10", "fd00::10"])
    config.dns_config.searches.extend(["test.svc.cluster.local", "svc.cluster.local"])
    config.dns_config.options.append("ndots:5")
    config.linux.sysctls["net.ipv4.ip_local_port_range"] = "20000 20100"
    config.linux.sysctls["net.core.somaxconn"] = "77"
    config.linux.sysctls["kernel.shm_rmid_forced"] = "1"
    pod = node.run(config)
    mounts = [cri.Mount(host_path=str(hosts), container_path="/etc/hosts")]
    container = pods.run_container(
        node.shim, pod, pods.container_config(IMAGE, mounts=mounts), config
    )

    def says(*command: str) -> str:
        return str(pods.execute(node.shim, container, *command).stdout.decode())

    assert says("hostname") == says("cat", "/etc/hostname") == "web-0\n"
    assert says("cat", "/etc/resolv.conf").splitlines() == [
        "search test.svc.cluster.local svc.cluster.local",
        "nameserver 10.96.0.10",
        "nameserver fd00::10",
        "options ndots:5",
    ]
    assert says("cat", "/etc/hosts") == hosts.read_text()
    assert says("cat", "/proc/sys/net/ipv4/ip_local_port_range").split() == ["20000", "20100"]
    assert says("cat", "/proc/sys/net/core/somaxconn") == "77\n"
    assert says("cat", "/proc/sys/kernel/shm_rmid_forced") == "1\n"
    assert f"inet {node.ips(pod)[0]}/24" in says("ip", "addr", "show", "eth0")
    node.remove(pod)


def test_without_dns_config_the_hosts(node: Node) -> None:
    config = pod_config()
    pod = node.run(config)
    container = pods.run_container(node.shim, pod, pods.container_config(IMAGE), config)
    shown = pods.execute(node.shim, container, "cat", "/etc/resolv.conf").stdout
    assert shown == Path("/etc/resolv.conf").read_bytes()
    node.remove(pod)


def test_traffic_of_the_pod(node: Node) -> None:
    """PodSandboxStats counts what passed eth0."""
    pod = node.run()
    request = cri.PodSandboxStatsRequest(pod_sandbox_id=pod)

    def received() -> int:
        stats = node.shim.runtime.PodSandboxStats(request).stats.linux.network
        assert stats.default_interface.name == "eth0"
        return int(stats.default_interface.rx_bytes.value)

    before = received()
    with echo(node.netns(pod), 80):
        assert ask(node.hosts.host, node.ips(pod)[0], 80) == b"hello"
    assert received() >= before + len(b"hello")
    node.remove(pod)


def test_a_limited_rate(node: Node) -> None:
    limits = {"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "4M"}
    pod = node.run(pod_config(annotations=limits))
    assert "tbf" in sh(node.netns(pod), "tc qdisc show dev eth0")
    assert "rate 8Mbit" in sh(node.hosts.host, f"tc qdisc show dev {node.links()[0]}")
    node.remove(pod)
    with pytest.raises(grpc.RpcError) as error:
        node.run(pod_config(annotations={"kubernetes.io/ingress-bandwidth": "fast"}))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "kubernetes.io/ingress-bandwidth" in error.value.details()


def test_stop_gives_back_and_can_be_repeated(node: Node) -> None:
    """A stopped pod has no address on the host and shows none that another may have now."""
    pod = node.run(pod_config(port_mappings=[port(80, 9100)]))
    stop = cri.StopPodSandboxRequest(pod_sandbox_id=pod)
    for _ in range(2):
        node.shim.runtime.StopPodSandbox(stop)
    assert node.records() == {}
    assert node.elements() == []
    assert node.status(pod).state == cri.SANDBOX_NOTREADY
    assert node.ips(pod) == []
    again = node.run(pod_config(port_mappings=[port(80, 9100)]))
    node.remove(pod, again)


def test_the_network_of_a_pod_in_its_user_namespace(node: Node) -> None:
    """Addresses come from outside; the pod's own root may change its network."""
    config = pod_config()
    ids = cri.IDMapping(host_id=300000, container_id=0, length=65536)
    user = config.linux.security_context.namespace_options.userns_options
    user.mode = cri.POD
    user.uids.append(ids)
    user.gids.append(ids)
    pod = node.run(config, "crun")
    with echo(node.netns(pod), 80):
        assert ask(node.hosts.host, node.ips(pod)[0], 80) == b"hello"
    root = pods.container_config(IMAGE)
    root.linux.security_context.capabilities.add_capabilities.append("NET_ADMIN")
    root.linux.security_context.namespace_options.userns_options.CopyFrom(user)
    container = pods.run_container(node.shim, pod, root, config)
    changed = pods.execute(node.shim, container, "ip", "link", "set", "eth0", "mtu", "1300")
    assert changed.exit_code == 0, changed.stderr
    node.remove(pod)
