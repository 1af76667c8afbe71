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
from berth.linux.netlink import address, link, route
from berth.linux.netlink.connection import Netlink, unless
from berth.linux.netlink.link import Link
from cri_shim.network.subnets import Subnet, mac_of
from cri_shim.network.threads import inside

log = logging.getLogger(__name__)

TO_DELETE = 0x62657274
"""The link group of pairs that are cut off and wait for their deletion ("bert" in ASCII, so that
no other program has it). It is in the kernel: after kill -9 the next run finds them there."""
_MTU = 1500
_BRIDGE = "bridge"
_SETTINGS: Mapping[str, str] = {
    # The reply of a pod to 127.0.0.1 comes back over the bridge.
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
        """The bridge is the gateway of these; a change takes effect with `ensure`."""
        self._served = self.subnets
        self._netns = netns
        self._mtu = mtu
        self.links = inside(netns, Netlink)
        # Of its own: the kernel holds the socket for the tens of milliseconds of a deletion.
        self._reaper = inside(netns, Netlink)

    def close(self) -> None:
        self.links.close()
        self._reaper.close()

    def ensure(self, pods: Iterable[str] = ()) -> Bridge:
        """The bridge, with its addresses and settings, and the links named `pods` in it.
        FailedPrecondition where something else has its name."""
        links = {one.name: one for one in link.dump(self.links)}
        if self.name not in links:
            links[self.name] = self._make()
        bridge = links[self.name]
        if why := taken(bridge):
            raise FailedPrecondition(why)
        changes = [link.set_up(bridge.index)] if not bridge.up else []
        there = address.dump(self.links).get(bridge.index, [])
        changes += [
            address.add(bridge.index, subnet.gateway_interface)
            for subnet in self.subnets
            if subnet.gateway_interface not in there
        ]
        changes += [
            address.remove(bridge.index, subnet.gateway_interface)
            for subnet in self._served
            if subnet not in self.subnets and subnet.gateway_interface in there
        ]
        changes += [
            link.set_master(links[name].index, bridge.index)
            for name in pods
            if name in links and links[name].master != bridge.index
        ]
        # A bridge that somebody deleted and we made again has none of its ports.
        if changes:
            self.links.send(changes)
        self._served = self.subnets
        inside(self._netns, self._set)
        return Bridge(bridge.name, bridge.index, bridge.mtu)

    def leftovers(self, prefix: str, known: Iterable[str]) -> list[str]:
        """Names of links with this prefix that are not in `known`."""
        keep = frozenset(known)
        names = (one.name for one in link.dump(self.links))
        return [name for name in names if name.startswith(prefix) and name not in keep]

    def cut_off(self, names: Sequence[str]) -> bool:
        """From now on nothing passes these links; False when all of them were gone already."""
        found = [
            unless(errno.ENODEV, self.links, link.mark_for_deletion(name, TO_DELETE))
            for name in names
        ]
        return any(found)

    def reap(self) -> None:
        """Delete what was cut off. Takes tens of milliseconds, on a socket of its own."""
        unless(errno.ENODEV, self._reaper, link.delete_group(TO_DELETE))

    def _make(self) -> Link:
        mtu = self._mtu or uplink_mtu(self.links)
        # A MAC that is set stays. Without it a bridge takes the lowest one of its ports and changes
        # it as pods come and go, while pods remember the old one.
        mac = mac_of([subnet.gateway for subnet in self.subnets])
        self.links.send([link.add_bridge(self.name, mac, mtu)])
        inside(self._netns, lambda: _write({_NO_DAD.format(self.name): "0"}))
        log.info("made bridge %s, mtu %d", self.name, mtu)
        return link.get(self.links, self.name)

    def _set(self) -> None:
        """Settings that differ are written, and logged."""
        wanted = {name.format(self.name): value for name, value in _SETTINGS.items()}
        if changed := _write(wanted | self._forwarding()):
            log.info("bridge %s: set %s", self.name, changed)

    def _forwarding(self) -> dict[str, str]:
        """Forwarding on the links that have an address (it counts where a packet comes in), not
        on the whole host. IPv6 has that since Linux 6.17; before, all links forward, and those
        that learn their routes from advertisements must be told to go on with it."""
        links = {one.index: one.name for one in link.dump(self.links)}
        outer: dict[int, set[str]] = {4: set(), 6: {self.name}}
        for index, interfaces in address.dump(self.links).items():
            for own in interfaces:
                if not own.is_loopback and not own.is_link_local and index in links:
                    outer[own.version].add(links[index])
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


def taken(other: Link) -> str | None:
    """Why the bridge cannot have this link's name."""
    if other.kind == _BRIDGE:
        return None
    return (
        f"the host has a link {other.name} that is no bridge but {other.kind or 'a device'}: "
        "remove it or give [network] bridge another name"
    )


def uplink_mtu(connection: Netlink) -> int:
    """Of the link that the default route takes; 1500 without one."""
    default = [r.link for r in route.dump(connection) if r.destination.prefixlen == 0]
    for one in link.dump(connection):
        if one.index in default[:1]:
            return one.mtu
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
    """Set what differs; returns that as text. What this kernel does not have is left out."""
    changed = {name: value for name, value in wanted.items() if _read(name) not in (value, "")}
    namespaces.write_sysctls(changed)
    return ", ".join(f"{name}={value}" for name, value in changed.items())


def _read(name: str) -> str:
    """Of a setting in /proc/sys; "" where the kernel has none of that name."""
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
