"""The netlink connection: against the kernel, in network namespaces of its own."""

import errno
import gc
import ipaddress
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.linux import namespaces
from berth.linux.netlink import address, link, qdisc, route
from berth.linux.netlink.connection import Netlink, NetlinkError, received, unless

MAC = "0a:58:0a:4d:00:02"


@pytest.fixture
def netns(tmp_path: Path) -> Iterator[str]:
    path = namespaces.pin(["net"], tmp_path)["net"]
    yield str(path)
    namespaces.unpin(path)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[str]:
    directory = tmp_path / "other"
    directory.mkdir()
    path = namespaces.pin(["net"], directory)["net"]
    yield str(path)
    namespaces.unpin(path)


@pytest.fixture
def connection(netns: str) -> Iterator[Netlink]:
    made = namespaces.run_inside(netns, Netlink)
    yield made
    made.close()


def test_a_pair_between_namespaces(connection: Netlink, other: str) -> None:
    connection.send([link.add_bridge("br0", MAC, 1400)])
    bridge = link.get(connection, "br0")
    assert (bridge.mac, bridge.mtu, bridge.up, bridge.kind) == (MAC, 1400, False, "bridge")
    connection.send([link.set_up(bridge.index)])
    fd = os.open(other, os.O_RDONLY | os.O_CLOEXEC)
    try:
        connection.send([link.add_veth("v0", bridge.index, "eth0", fd, "0a:58:00:00:00:01", 1300)])
    finally:
        os.close(fd)
    connection.send([link.set_bridge_port("v0", "a pod")])
    port = link.get(connection, "v0")
    assert (port.master, port.up, port.mtu, port.kind) == (bridge.index, True, 1300, "veth")
    assert port.operstate != "UP", "the other end is down"
    peer = namespaces.run_inside(other, Netlink)
    try:
        end = link.get(peer, "eth0")
        assert (end.mac, end.mtu, end.up) == ("0a:58:00:00:00:01", 1300, False)
        peer.send([link.set_up(end.index)])
        assert link.operstate(peer, "eth0") == link.operstate(connection, "v0") == "UP"
    finally:
        peer.close()
    assert {one.name for one in link.dump(connection)} == {"lo", "br0", "v0"}


def test_addresses_and_routes(connection: Netlink) -> None:
    connection.send([link.add_bridge("br0", MAC, 1400)])
    index = link.get(connection, "br0").index
    four, six = ipaddress.ip_interface("10.9.0.1/24"), ipaddress.ip_interface("fd09::1/64")
    gateways = [ipaddress.ip_address(text) for text in ("10.9.0.9", "fd09::9")]
    connection.send([link.set_up(index), address.add(index, four), address.add(index, six)])
    connection.send([route.add_default(index, gateway) for gateway in gateways])
    assert {four, six} <= set(address.dump(connection)[index])
    found = {one.destination: one for one in route.dump(connection)}
    assert found[four.network].gateway is None
    for everywhere, gateway in zip(("0.0.0.0/0", "::/0"), gateways, strict=True):
        default = found[ipaddress.ip_network(everywhere)]
        assert (default.gateway, default.link) == (gateway, index)
    connection.send([address.add(index, four), address.remove(index, six)])
    assert six not in address.dump(connection)[index]


def test_rates_above_four_gigabytes_per_second(connection: Netlink, netns: str) -> None:
    connection.send([link.add_bridge("br0", MAC, 1400)])
    connection.send([qdisc.limit_rate(link.get(connection, "br0").index, 40 * 10**9, 1400)])
    shown = subprocess.check_output(
        ["nsenter", f"--net={netns}", "tc", "qdisc", "show", "dev", "br0"], text=True
    )
    assert "rate 40Gbit" in shown


def test_errors_name_the_object_and_the_rest_is_done(connection: Netlink) -> None:
    connection.send([link.add_bridge("br0", MAC, 1400)])
    index = link.get(connection, "br0").index
    with pytest.raises(
        NetlinkError, match=r"cannot put link 999 into bridge 3: No such dev"
    ) as one:
        connection.send([link.set_master(999, 3), link.set_up(index)])
    assert one.value.errno == errno.ENODEV
    assert link.get(connection, "br0").up, "requests after the one that failed are carried out"
    with pytest.raises(NetlinkError, match="make bridge br0: File exists"):
        connection.send([link.add_bridge("br0", MAC, 1400)])
    with pytest.raises(NetlinkError, match="look at link nope: No such device"):
        link.get(connection, "nope")
    with pytest.raises(NetlinkError, match=r"\(.+\)"):  # the kernel's explanation
        connection.send([address.add(index, ipaddress.ip_interface("10.0.0.1/24")), _odd(index)])


def _odd(index: int) -> route.Request:
    return route.add_default(index, ipaddress.ip_address("192.0.2.9"))


def test_links_of_a_group_go_together(connection: Netlink) -> None:
    connection.send([link.add_bridge(name, MAC, 1400) for name in ("br0", "br1", "br2")])
    connection.send([link.mark_for_deletion(name, 77) for name in ("br0", "br1")])
    assert unless(errno.ENODEV, connection, link.delete_group(77))
    assert {one.name for one in link.dump(connection)} == {"lo", "br2"}
    assert not unless(errno.ENODEV, connection, link.delete_group(77))
    with pytest.raises(NetlinkError):
        unless(errno.EPERM, connection, link.delete_group(77))


def test_a_socket_keeps_its_namespace_on_every_thread(connection: Netlink, other: str) -> None:
    connection.send([link.add_bridge("br0", MAC, 1400)])
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: link.get(connection, "br0").name, range(50)):
            assert found == "br0"
    assert namespaces.run_inside(other, lambda: link.get(connection, "br0").kind) == "bridge"


def test_nothing_leaks(netns: str) -> None:
    """Neither descriptors nor threads, on threads inside another namespace."""

    def use() -> None:
        made = Netlink()
        try:
            made.send([link.set_up(1)])
            link.dump(made)
        finally:
            made.close()

    namespaces.run_inside(netns, use)
    gc.collect()  # what earlier tests left to the collector would be counted here
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(200):
        namespaces.run_inside(netns, use)
    # Not "equal": a thread of an earlier test may end meanwhile, and close what it had.
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert threading.active_count() <= threads


def test_the_library_is_imported_only_where_a_network_is_made() -> None:
    code = (
        "import sys, cri_shim.cli, cri_shim.config, cri_shim.daemon, nodeagent.daemon;"
        "assert 'pyroute2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@given(st.binary(max_size=100))
def test_no_datagram_breaks_the_reader(data: bytes) -> None:
    for message in received(data):
        message.attribute(4, 1)


def test_a_socket_is_closed_when_it_cannot_join_a_group() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        Netlink(socket.NETLINK_ROUTE, groups=(10_000,))
    assert len(os.listdir("/proc/self/fd")) == before
