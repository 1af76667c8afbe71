"""Traffic of pods: parsing, and real network namespaces."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.linux import namespaces, processes
from cri_shim.stats.network import parse, read_all
from cri_shim.stats.usage import Interface

NETDEV = b"""Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo
    lo:     100       2    0    0    0     0          0         0      100       2    0    0    0
  net1:      11      12   13   14    0     0          0         0       15      16   17   18    0
  eth0:123456789012  2    3    4    5     6          7         8        9      10   11   12   13
"""


def test_parse_takes_eth0_first_and_no_loopback() -> None:
    usage = parse(NETDEV, 5)
    assert usage.at == 5
    assert usage.default == Interface("eth0", 123456789012, 2, 3, 4, 9, 10, 11, 12)
    assert usage.others == (Interface("net1", 11, 12, 13, 14, 15, 16, 17, 18),)
    assert [i.name for i in usage.interfaces] == ["eth0", "net1"]


def test_parse_of_other_names_and_of_nothing() -> None:
    usage = parse(NETDEV.replace(b"eth0", b"ens3"), 0)
    assert usage.default is not None
    assert usage.default.name == "net1"
    empty = parse(b"", 0)
    assert empty.default is None
    assert empty.interfaces == ()


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[list[Path]]:
    """Two network namespaces."""
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append(namespaces.pin(["net"], tmp_path / name, namespaces.loopback_up)["net"])
    yield made
    for path in made:
        namespaces.unpin(path)


async def test_traffic_of_each_namespace_is_its_own(pods: list[Path], tmp_path: Path) -> None:
    """A pair of interfaces between the two pods, and a packet sent over it."""
    first, second = (f"--net={path}" for path in pods)
    for words in (
        (first, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "net1"),
        (first, "ip", "link", "set", "net1", "netns", str(pods[1])),
        (first, "ip", "addr", "add", "10.9.8.1/24", "dev", "eth0"),
        (second, "ip", "link", "set", "net1", "up"),
        (first, "ip", "link", "set", "eth0", "up"),
    ):
        result = await processes.run(["nsenter", *words], timeout=20)
        assert result.code == 0, result.stderr

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sender.sendto(b"x" * 1000, ("10.9.8.255", 9))

    namespaces.run_inside(str(pods[0]), send)
    gone = tmp_path / "gone"
    usage = read_all([str(gone), str(pods[0]), str(tmp_path), str(pods[1]), str(gone)])
    assert set(usage) == {str(path) for path in pods}
    default = usage[str(pods[0])].default
    assert default is not None
    assert default.name == "eth0"
    assert default.tx_bytes > 1000
    other = usage[str(pods[1])].default
    assert other is not None
    assert other.name == "net1"
    assert other.rx_bytes > 1000


def test_no_namespaces_no_thread(tmp_path: Path) -> None:
    assert read_all([]) == {}
    assert read_all([str(tmp_path / "none")]) == {}
