"""The bridge itself on the host: made, addressed, forwarding, and put right when somebody undid it.

Blocking, by netlink and /proc/sys. Nothing here knows a pod.
"""

import errno
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from berth.base.errors import FailedPrecondition
from berth.linux import namespaces
from cri_shim.network import rtnetlink
from cri_shim.network.netlink import Message, Netlink, NetlinkError
from cri_shim.network.rtnetlink import Link
from cri_shim.network.subnets import Subnet, mac_of
from cri_shim.network.threads import inside

log = logging.getLogger(__name__)

DOOMED = 0x62657274
"""The link group of pairs that are cut off and wait for their deletion."""
_MTU = 1500
_BRIDGE = "bridge"
_SETTINGS: Mapping[str, str] = {
    # An answer of a pod to 127.0.0.1 comes back over the bridge.
    "net/ipv4/conf/{0}/route_localnet": "1",
    "net/ipv4/conf/{0}/forwarding": "1",
    # A pod must not become the host's router.
    "net/ipv6/conf/{0}/accept_ra": "0",
}
# Forwarded IPv6 packets wait until the link-local address may be used, two seconds of detection.
_NO_DAD = "net/ipv6/conf/{0}/accept_dad"
_FORWARDING_4 = "net/ipv4/conf/{0}/forwarding"
_FORWARDING_6 = "net/ipv6/conf/{0}/force_forwarding"
_ALL_FORWARDING_6 = "net/ipv6/conf/all/forwarding"
_ACCEPT_RA = "net/ipv6/conf/{0}/accept_ra"


@dataclass(frozen=True, slots=True)
class Bridge:
    """As it stands in the kernel."""

    name: str
    index: int
    mtu: int


class Device:
    """One bridge in one network namespace. `mtu` 0 takes that of the default route's link."""

    def __init__(
        self, name: str, subnets: Sequence[Subnet], netns: str | None, mtu: int = 0
    ) -> None:
        self.name = name
        self.subnets = tuple(subnets)
        """Those whose gateway the bridge is; a change takes effect with `ensure`."""
        self._served = self.subnets
        self._netns = netns
        self._mtu = mtu
        self.links = inside(netns, rtnetlink.connect)
        self._reaper = inside(netns, rtnetlink.connect)

    def close(self) -> None:
        self.links.close()
        self._reaper.close()

    def ensure(self, pods: Iterable[str] = ()) -> Bridge:
        """The bridge, with its addresses and settings, and the links named `pods` in it.
        FailedPrecondition where something else has its name."""
        links = {link.name: link for link in rtnetlink.links(self.links)}
        if self.name not in links:
            links[self.name] = self._make()
        bridge = links[self.name]
        if why := taken(bridge):
            raise FailedPrecondition(why)
        changes = [rtnetlink.set_up(bridge.index)] if not bridge.up else []
        there = rtnetlink.addresses(self.links).get(bridge.index, [])
        changes += [
            rtnetlink.add_address(bridge.index, subnet.gateway_interface)
            for subnet in self.subnets
            if subnet.gateway_interface not in there
        ]
        changes += [
            rtnetlink.remove_address(bridge.index, subnet.gateway_interface)
            for subnet in self._served
            if subnet not in self.subnets and subnet.gateway_interface in there
        ]
        changes += [
            rtnetlink.set_master(links[name].index, bridge.index)
            for name in pods
            if name in links and links[name].master != bridge.index
        ]
        if changes:
            self.links.send(changes)
        self._served = self.subnets
        inside(self._netns, self._set)
        return Bridge(bridge.name, bridge.index, bridge.mtu)

    def leftovers(self, prefix: str, known: Iterable[str]) -> list[str]:
        """Names of links with this prefix that are not in `known`."""
        keep = frozenset(known)
        names = (link.name for link in rtnetlink.links(self.links))
        return [name for name in names if name.startswith(prefix) and name not in keep]

    def cut_off(self, names: Sequence[str]) -> bool:
        """From now on nothing passes these links; False when all of them were gone already."""
        found = [_unless_gone(self.links, rtnetlink.condemn(name, DOOMED)) for name in names]
        return any(found)

    def reap(self) -> None:
        """Delete what was cut off. Takes tens of milliseconds, on a socket of its own."""
        _unless_gone(self._reaper, rtnetlink.delete_group(DOOMED))

    def _make(self) -> Link:
        mtu = self._mtu or uplink_mtu(self.links)
        mac = mac_of([subnet.gateway for subnet in self.subnets])
        self.links.send([rtnetlink.add_bridge(self.name, mac, mtu)])
        inside(self._netns, lambda: _write({_NO_DAD.format(self.name): "0"}))
        log.info("made bridge %s, mtu %d", self.name, mtu)
        return next(link for link in rtnetlink.links(self.links) if link.name == self.name)

    def _set(self) -> None:
        """Settings that differ are written, and said."""
        wanted = {name.format(self.name): value for name, value in _SETTINGS.items()}
        if changed := _write(wanted | self._forwarding()):
            log.info("bridge %s: set %s", self.name, changed)

    def _forwarding(self) -> dict[str, str]:
        """Forwarding on the links that have an address (it counts where a packet comes in), not
        on the whole host. IPv6 has that since Linux 6.17; before, all links forward, and those
        that learn their routes from advertisements must be told to go on with it."""
        links = {link.index: link.name for link in rtnetlink.links(self.links)}
        outer: dict[int, set[str]] = {4: set(), 6: {self.name}}
        for index, addresses in rtnetlink.addresses(self.links).items():
            for address in addresses:
                if not address.is_loopback and not address.is_link_local and index in links:
                    outer[address.version].add(links[index])
        versions = {subnet.version for subnet in self.subnets}
        wanted: dict[str, str] = {}
        if 4 in versions:
            wanted |= {_FORWARDING_4.format(name): "1" for name in outer[4]}
        if 6 in versions and _read(_FORWARDING_6.format(self.name)):
            wanted |= {_FORWARDING_6.format(name): "1" for name in outer[6]}
        elif 6 in versions and _read(_ALL_FORWARDING_6) == "0":
            names = [_ACCEPT_RA.format(name) for name in links.values() if name != self.name]
            wanted |= {name: "2" for name in names if _read(name) == "1"}
            wanted[_ALL_FORWARDING_6] = "1"
        return wanted


def taken(link: Link) -> str | None:
    """Why the bridge cannot have this link's name, in words."""
    if link.kind == _BRIDGE:
        return None
    return (
        f"the host has a link {link.name} that is no bridge but {link.kind or 'a device'}: remove "
        "it or give [network] bridge another name"
    )


def uplink_mtu(connection: Netlink) -> int:
    """Of the link that the default route takes; 1500 without one."""
    default = [r.link for r in rtnetlink.routes(connection) if r.destination.prefixlen == 0]
    for link in rtnetlink.links(connection):
        if link.index in default[:1]:
            return link.mtu
    return _MTU


def forwards(netns: str | None, bridge: str, version: int) -> bool:
    """Whether the whole host forwards packets of this IP version, or else the bridge does."""
    own, whole = (
        (_FORWARDING_4, "net/ipv4/ip_forward")
        if version == 4
        else (_FORWARDING_6, _ALL_FORWARDING_6)
    )
    return inside(netns, lambda: "1" in (_read(whole), _read(own.format(bridge))))


def _write(wanted: Mapping[str, str]) -> str:
    """Set what differs; returns it in words. What this kernel does not have is left out."""
    changed = {name: value for name, value in wanted.items() if _read(name) not in (value, "")}
    namespaces.write_sysctls(changed)
    return ", ".join(f"{name}={value}" for name, value in changed.items())


def _read(name: str) -> str:
    """Of a setting in /proc/sys; "" where the kernel has none of that name."""
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def _unless_gone(connection: Netlink, message: Message) -> bool:
    try:
        connection.send([message])
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    return True
