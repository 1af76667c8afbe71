"""One pod's pair of links: made in one message, set up inside the pod in another. Blocking."""

import contextlib
import os
import socket
import time
from collections.abc import Sequence

from cri_shim.host import namespaces
from cri_shim.network import rtnetlink
from cri_shim.network.bridge.device import Bridge
from cri_shim.network.bridge.leases import Lease
from cri_shim.network.netlink import Netlink
from cri_shim.network.pod import INTERFACE
from cri_shim.network.subnets import Subnet, mac_of

_UP_S = 1.0
_LOOK_S = 0.001
_LOOPBACK = 1
"""The index of `lo` in every network namespace."""
_SETTINGS = {
    # Another pod on the bridge must not become this one's router.
    f"net/ipv6/conf/{INTERFACE}/accept_ra": "0",
    f"net/ipv6/conf/{INTERFACE}/accept_dad": "0",
}


def join(links: Netlink, bridge: Bridge, netns: str, lease: Lease) -> None:
    """Make the pair: one end in the bridge, the other in the pod's namespace, still down."""
    mac = mac_of(lease.addresses)
    pod_side = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        links.send(
            [
                rtnetlink.add_veth(lease.link, bridge.index, INTERFACE, pod_side, mac, bridge.mtu),
                rtnetlink.set_port(lease.link, f"berth pod {lease.pod}"),
            ]
        )
    finally:
        os.close(pod_side)


def set_up(netns: str, lease: Lease, subnets: Sequence[Subnet]) -> None:
    """Addresses and default routes inside the pod; `lo` and the interface come up."""
    namespaces.run_inside(netns, lambda: _set_up_here(lease, subnets))


def wait_until_up(links: Netlink, *names: str) -> None:
    """Until packets pass these links: nothing that is sent to a pod or by it after an attach may
    be lost. Kernels before 6.8 take some milliseconds. A link that does not come up within the
    limit is left to the kernel."""
    end = time.monotonic() + _UP_S
    for name in names:
        while not rtnetlink.is_up(links, name) and time.monotonic() < end:
            time.sleep(_LOOK_S)


def _set_up_here(lease: Lease, subnets: Sequence[Subnet]) -> None:
    with contextlib.suppress(FileNotFoundError):
        namespaces.write_sysctls(_SETTINGS)
    index = socket.if_nametoindex(INTERFACE)
    pairs = [
        (subnet, address)
        for subnet in subnets
        for address in lease.addresses
        if address.version == subnet.version
    ]
    links = rtnetlink.connect()
    try:
        links.send([rtnetlink.set_up(_LOOPBACK), rtnetlink.set_up(index)])
        wait_until_up(links, INTERFACE)
        links.send(
            [
                *(rtnetlink.add_address(index, s.interface(address)) for s, address in pairs),
                *(rtnetlink.add_default_route(index, s.gateway) for s, _ in pairs),
            ]
        )
    finally:
        links.close()
