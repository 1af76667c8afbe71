"""One pod's pair of links: made in one message, set up inside the pod in another. Blocking."""

import contextlib
import os
import socket
import time
from dataclasses import dataclass

from berth.linux import namespaces
from berth.linux.netlink import address, link, qdisc, route
from berth.linux.netlink.connection import Netlink, Request
from cri_shim.network.bandwidth import Bandwidth
from cri_shim.network.bridge.device import Bridge
from cri_shim.network.bridge.leases import Lease
from cri_shim.network.pod import INTERFACE
from cri_shim.network.subnets import mac_of

_UP_S = 1.0
_LOOK_S = 0.001
# The index is fixed in the kernel (LOOPBACK_IFINDEX).
_LOOPBACK = 1
"""The index of `lo` in every network namespace."""
_SETTINGS = {
    # Another pod on the bridge must not become this one's router.
    f"net/ipv6/conf/{INTERFACE}/accept_ra": "0",
    f"net/ipv6/conf/{INTERFACE}/accept_dad": "0",
}


@dataclass(frozen=True, slots=True)
class Pair:
    """What is to be made: one end in the bridge, the other in the pod's namespace at `netns`."""

    netns: str
    lease: Lease
    rates: Bandwidth

    @property
    def name(self) -> str:
        """Of the host's end."""
        return self.lease.link


def join(connection: Netlink, bridge: Bridge, pair: Pair) -> None:
    """Make both ends; the pod's is still down."""
    mac = mac_of(pair.lease.addresses)
    netns = os.open(pair.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        connection.send(
            [
                link.add_veth(pair.name, bridge.index, INTERFACE, netns, mac, bridge.mtu),
                link.set_bridge_port(pair.name, f"berth pod {pair.lease.pod}"),
            ]
        )
    finally:
        os.close(netns)


def set_up(bridge: Bridge, pair: Pair) -> None:
    """Addresses and default routes inside the pod; `lo` and the interface come up."""
    namespaces.run_inside(pair.netns, lambda: _set_up_here(bridge, pair))


def open_up(connection: Netlink, bridge: Bridge, pair: Pair) -> None:
    """Wait until packets pass on the host's side, and limit what the pod receives."""
    wait_until_up(connection, pair.name, bridge.name)
    if pair.rates.ingress:
        index = link.get(connection, pair.name).index
        connection.send([qdisc.limit_rate(index, pair.rates.ingress, bridge.mtu)])


def wait_until_up(connection: Netlink, *names: str) -> None:
    """Until packets pass these links: nothing that is sent to a pod or by it after an attach may
    be lost. Kernels before 6.8 take some milliseconds. A link that does not come up within the
    limit is left to the kernel."""
    end = time.monotonic() + _UP_S
    for name in names:
        while link.operstate(connection, name) != "UP" and time.monotonic() < end:
            time.sleep(_LOOK_S)


def _set_up_here(bridge: Bridge, pair: Pair) -> None:
    # No such files: a kernel started with ipv6.disable=1.
    with contextlib.suppress(FileNotFoundError):
        namespaces.write_sysctls(_SETTINGS)
    index = socket.if_nametoindex(INTERFACE)
    connection = Netlink()
    try:
        connection.send([link.set_up(_LOOPBACK), link.set_up(index)])
        wait_until_up(connection, INTERFACE)
        connection.send(_addressing(index, bridge, pair))
    finally:
        connection.close()


def _addressing(index: int, bridge: Bridge, pair: Pair) -> list[Request]:
    pairs = [
        (subnet, own)
        for subnet in pair.lease.subnets
        for own in pair.lease.addresses
        if own.version == subnet.version
    ]
    requests = [address.add(index, subnet.interface(own)) for subnet, own in pairs]
    # After the addresses: the kernel refuses a gateway that no link reaches.
    requests += [route.add_default(index, subnet.gateway) for subnet, _ in pairs]
    if pair.rates.egress:
        requests.append(qdisc.limit_rate(index, pair.rates.egress, bridge.mtu))
    return requests
