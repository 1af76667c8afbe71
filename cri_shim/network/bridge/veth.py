"""One pod's pair of links: made in one message, set up inside the pod in another. Blocking."""

import contextlib
import os
import socket
import time
from dataclasses import dataclass

from berth.linux import namespaces
from cri_shim.network import rtnetlink
from cri_shim.network.bandwidth import Bandwidth
from cri_shim.network.bridge.device import Bridge
from cri_shim.network.bridge.leases import Lease
from cri_shim.network.netlink import Message, Netlink
from cri_shim.network.pod import INTERFACE
from cri_shim.network.subnets import mac_of

_UP_S = 1.0
_LOOK_S = 0.001
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


def join(links: Netlink, bridge: Bridge, pair: Pair) -> None:
    """Make both ends; the pod's is still down."""
    mac = mac_of(pair.lease.addresses)
    netns = os.open(pair.netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        links.send(
            [
                rtnetlink.add_veth(pair.name, bridge.index, INTERFACE, netns, mac, bridge.mtu),
                rtnetlink.set_port(pair.name, f"berth pod {pair.lease.pod}"),
            ]
        )
    finally:
        os.close(netns)


def set_up(bridge: Bridge, pair: Pair) -> None:
    """Addresses and default routes inside the pod; `lo` and the interface come up."""
    namespaces.run_inside(pair.netns, lambda: _set_up_here(bridge, pair))


def open_up(links: Netlink, bridge: Bridge, pair: Pair) -> None:
    """Wait until packets pass on the host's side, and limit what the pod receives."""
    wait_until_up(links, pair.name, bridge.name)
    if pair.rates.ingress:
        index = rtnetlink.index_of(links, pair.name)
        links.send([rtnetlink.limit_rate(index, pair.rates.ingress, bridge.mtu)])


def wait_until_up(links: Netlink, *names: str) -> None:
    """Until packets pass these links: nothing that is sent to a pod or by it after an attach may
    be lost. Kernels before 6.8 take some milliseconds. A link that does not come up within the
    limit is left to the kernel."""
    end = time.monotonic() + _UP_S
    for name in names:
        while not rtnetlink.is_up(links, name) and time.monotonic() < end:
            time.sleep(_LOOK_S)


def _set_up_here(bridge: Bridge, pair: Pair) -> None:
    with contextlib.suppress(FileNotFoundError):
        namespaces.write_sysctls(_SETTINGS)
    index = socket.if_nametoindex(INTERFACE)
    links = rtnetlink.connect()
    try:
        links.send([rtnetlink.set_up(_LOOPBACK), rtnetlink.set_up(index)])
        wait_until_up(links, INTERFACE)
        links.send(_addressing(index, bridge, pair))
    finally:
        links.close()


def _addressing(index: int, bridge: Bridge, pair: Pair) -> list[Message]:
    own = [
        (subnet, address)
        for subnet in pair.lease.subnets
        for address in pair.lease.addresses
        if address.version == subnet.version
    ]
    messages = [rtnetlink.add_address(index, s.interface(address)) for s, address in own]
    messages += [rtnetlink.add_default_route(index, subnet.gateway) for subnet, _ in own]
    if pair.rates.egress:
        messages.append(rtnetlink.limit_rate(index, pair.rates.egress, bridge.mtu))
    return messages
