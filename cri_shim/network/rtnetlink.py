"""Links, addresses and routes as netlink messages (rtnetlink(7), if_link.h, if_addr.h)."""

import ipaddress
import socket
import struct
from dataclasses import dataclass

from cri_shim.network import netlink
from cri_shim.network.netlink import ACK, CREATE, EXCLUSIVE, REPLACE, Message, Netlink

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _GETROUTE = 24, 26

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 4, 10, 18
_IFLA_IFALIAS, _IFLA_GROUP, _IFLA_NET_NS_FD = 20, 27, 28
_IFLA_OPERSTATE, _OPER_UP = 16, b"\x06"
_INFO_KIND, _INFO_DATA, _VETH_PEER, _BRIDGE_MCAST_SNOOPING = 1, 2, 1, 23
_INFO_SLAVE_KIND, _INFO_SLAVE_DATA, _BRPORT_HAIRPIN = 4, 5, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST = 254, 3, 0, 1
_IFF_UP = 1

_NEWQDISC, _TCA_KIND, _TCA_OPTIONS, _ROOT = 36, 1, 2, 0xFFFFFFFF
_TBF_PARAMETERS, _TBF_RATE64, _TBF_BURST, _LINKLAYER_ETHERNET = 1, 4, 6, 1
_U32 = 0xFFFFFFFF
_TRAFFIC = struct.Struct("=BxxxiIII")
_RATE = struct.Struct("=BBHhHI")

_LINK = struct.Struct("=BxHiII")
_ADDR = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Link:
    """One interface as the kernel lists it. `mac` is raw bytes, `master` 0 when it has none, `kind`
    such as "bridge" or "veth", empty for a device."""

    index: int
    name: str
    mac: bytes
    mtu: int
    master: int
    group: int
    up: bool
    kind: str


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table; `gateway` None: on the link itself."""

    destination: Network
    link: int
    gateway: Address | None


def connect() -> Netlink:
    """A socket on the links of the calling thread's network namespace."""
    return Netlink(socket.NETLINK_ROUTE)


def add_bridge(name: str, mac: bytes, mtu: int) -> Message:
    """A bridge, still down.

    Snooping is off: without a querier it drops the first neighbour solicitations of IPv6.
    """
    settings = netlink.nest(_INFO_DATA, netlink.attribute(_BRIDGE_MCAST_SNOOPING, b"\0"))
    body = (
        _LINK.pack(0, 0, 0, 0, 0)
        + netlink.text(_IFLA_IFNAME, name)
        + netlink.attribute(_IFLA_ADDRESS, mac)
        + netlink.u32(_IFLA_MTU, mtu)
        + netlink.nest(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "bridge"), settings)
    )
    return Message(f"make bridge {name}", _NEWLINK, body, ACK | CREATE | EXCLUSIVE)


def add_veth(name: str, master: int, peer: str, netns: int, mac: bytes, mtu: int) -> Message:
    """A pair: `name` here, up and in bridge `master`; `peer` with `mac` in namespace fd `netns`.

    The peer stays down: a veth cannot open before its other end exists.
    """
    peer_body = (
        _LINK.pack(0, 0, 0, 0, 0)
        + netlink.text(_IFLA_IFNAME, peer)
        + netlink.u32(_IFLA_NET_NS_FD, netns)
        + netlink.attribute(_IFLA_ADDRESS, mac)
        + netlink.u32(_IFLA_MTU, mtu)
    )
    info = (
        netlink.text(_INFO_KIND, "veth"),
        netlink.nest(_INFO_DATA, netlink.nest(_VETH_PEER, peer_body)),
    )
    body = (
        _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP)
        + netlink.text(_IFLA_IFNAME, name)
        + netlink.u32(_IFLA_MTU, mtu)
        + netlink.u32(_IFLA_MASTER, master)
        + netlink.nest(_IFLA_LINKINFO, *info)
    )
    return Message(f"make veth pair {name}", _NEWLINK, body, ACK | CREATE | EXCLUSIVE)


def set_port(name: str, alias: str) -> Message:
    """Show `alias` beside a bridge port in `ip link`, and let its frames come back to it: with
    br_netfilter a pod's way to itself by a port of the host is turned round in the bridge."""
    data = netlink.nest(_INFO_SLAVE_DATA, netlink.attribute(_BRPORT_HAIRPIN, b"\1"))
    body = (
        _LINK.pack(0, 0, 0, 0, 0)
        + netlink.text(_IFLA_IFNAME, name)
        + netlink.text(_IFLA_IFALIAS, alias[:255])
        + netlink.nest(_IFLA_LINKINFO, netlink.text(_INFO_SLAVE_KIND, "bridge"), data)
    )
    return Message(f"set up bridge port {name}", _NEWLINK, body)


def set_up(index: int) -> Message:
    return Message(f"bring up link {index}", _NEWLINK, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP))


def set_master(index: int, master: int) -> Message:
    body = _LINK.pack(0, 0, index, 0, 0) + netlink.u32(_IFLA_MASTER, master)
    return Message(f"put link {index} into bridge {master}", _NEWLINK, body)


def condemn(name: str, group: int) -> Message:
    """Cut the link off now (down) and put it into `group`, for `delete_group`."""
    body = (
        _LINK.pack(0, 0, 0, 0, _IFF_UP)
        + netlink.text(_IFLA_IFNAME, name)
        + netlink.u32(_IFLA_GROUP, group)
    )
    return Message(f"cut off link {name}", _NEWLINK, body)


def delete_group(group: int) -> Message:
    """Delete every link of the group; ENODEV when it is empty.

    One deletion waits tens of milliseconds for the kernel's readers; a group waits once for all.
    """
    body = _LINK.pack(0, 0, 0, 0, 0) + netlink.u32(_IFLA_GROUP, group)
    return Message("delete links", _DELLINK, body)


def delete(name: str) -> Message:
    body = _LINK.pack(0, 0, 0, 0, 0) + netlink.text(_IFLA_IFNAME, name)
    return Message(f"delete link {name}", _DELLINK, body)


def add_address(index: int, address: Interface) -> Message:
    """An address without duplicate detection: this node alone gives its addresses out, and IPv6
    would have the pod wait a second or two."""
    body = (
        _ADDR.pack(_family(address), address.network.prefixlen, _IFA_F_NODAD, 0, index)
        + netlink.attribute(_IFA_LOCAL, address.packed)
        + netlink.attribute(_IFA_ADDRESS, address.packed)
        + netlink.u32(_IFA_FLAGS, _IFA_F_NODAD)
    )
    return Message(f"add address {address}", _NEWADDR, body, ACK | CREATE | REPLACE)


def remove_address(index: int, address: Interface) -> Message:
    body = _ADDR.pack(_family(address), address.network.prefixlen, 0, 0, index) + netlink.attribute(
        _IFA_LOCAL, address.packed
    )
    return Message(f"remove address {address}", _DELADDR, body)


def limit_rate(index: int, bits: int, mtu: int) -> Message:
    """At most so many bits per second leave by this link: a token bucket filter (tc-tbf(8)) that
    lets a burst of 10 ms or ten packets through and holds 50 ms back."""
    rate = bits // 8
    burst = min(max(rate // 100, 10 * mtu), _U32)
    waiting = min(burst + rate // 20, _U32)
    no_peak = _RATE.pack(0, 0, 0, 0, 0, 0)
    steady = _RATE.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, min(rate, _U32))
    options = netlink.nest(
        _TCA_OPTIONS,
        netlink.attribute(_TBF_PARAMETERS, steady + no_peak + struct.pack("=III", waiting, 0, 0)),
        netlink.u32(_TBF_BURST, burst),
        netlink.attribute(_TBF_RATE64, struct.pack("=Q", rate)),
    )
    body = _TRAFFIC.pack(0, index, 0, _ROOT, 0) + netlink.text(_TCA_KIND, "tbf") + options
    words = f"limit link {index} to {bits} bit/s"
    return Message(words, _NEWQDISC, body, ACK | CREATE | REPLACE)


def add_default_route(index: int, gateway: Address) -> Message:
    head = _ROUTE.pack(
        _family(gateway), 0, 0, 0, _TABLE_MAIN, _PROTOCOL_BOOT, _SCOPE_UNIVERSE, _TYPE_UNICAST, 0
    )
    body = head + netlink.attribute(_RTA_GATEWAY, gateway.packed) + netlink.u32(_RTA_OIF, index)
    return Message(f"add default route by {gateway}", _NEWROUTE, body, ACK | CREATE | REPLACE)


def is_up(connection: Netlink, name: str) -> bool:
    """Whether packets pass the link. Being asked, the kernel (since 6.8) first does what it has
    put off since the carrier came: only then the bridge forwards to a new port."""
    answer = _look(connection, name)
    return netlink.attributes(answer[_LINK.size :]).get(_IFLA_OPERSTATE) == _OPER_UP


def index_of(connection: Netlink, name: str) -> int:
    index: int = _LINK.unpack_from(_look(connection, name))[2]
    return index


def _look(connection: Netlink, name: str) -> bytes:
    body = _LINK.pack(0, 0, 0, 0, 0) + netlink.text(_IFLA_IFNAME, name)
    (answer,) = connection.ask(Message(f"look at link {name}", _GETLINK, body))
    return answer.body


def links(connection: Netlink) -> list[Link]:
    answers = connection.dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0), "list links")
    return [_link(answer.body) for answer in answers if answer.kind == _NEWLINK]


def addresses(connection: Netlink) -> dict[int, list[Interface]]:
    """Addresses by link index."""
    found: dict[int, list[Interface]] = {}
    for answer in connection.dump(_GETADDR, _ADDR.pack(0, 0, 0, 0, 0), "list addresses"):
        _, prefix, _, _, index = _ADDR.unpack_from(answer.body)
        parts = netlink.attributes(answer.body[_ADDR.size :])
        raw = parts.get(_IFA_LOCAL) or parts[_IFA_ADDRESS]
        address = ipaddress.ip_interface((_address(raw), prefix))
        found.setdefault(index, []).append(address)
    return found


def routes(connection: Netlink) -> list[Route]:
    answers = connection.dump(_GETROUTE, _ROUTE.pack(*[0] * 9), "list routes")
    found = (_route(answer.body) for answer in answers if answer.kind == _NEWROUTE)
    return [route for route in found if route is not None]


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    parts = netlink.attributes(body[_LINK.size :])
    return Link(
        index=index,
        name=_text(parts, _IFLA_IFNAME),
        mac=parts.get(_IFLA_ADDRESS, b""),
        mtu=_number(parts, _IFLA_MTU),
        master=_number(parts, _IFLA_MASTER),
        group=_number(parts, _IFLA_GROUP),
        up=bool(flags & _IFF_UP),
        kind=_text(netlink.attributes(parts.get(_IFLA_LINKINFO, b"")), _INFO_KIND),
    )


def _route(body: bytes) -> Route | None:
    family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(body)
    parts = netlink.attributes(body[_ROUTE.size :])
    table = _number(parts, _RTA_TABLE) or table
    if kind != _TYPE_UNICAST or table != _TABLE_MAIN or family not in _ZERO:
        return None
    destination = ipaddress.ip_network((parts.get(_RTA_DST, _ZERO[family]), prefix))
    gateway = parts.get(_RTA_GATEWAY)
    return Route(destination, _number(parts, _RTA_OIF), _address(gateway) if gateway else None)


_ZERO = {socket.AF_INET: bytes(4), socket.AF_INET6: bytes(16)}


def _text(parts: dict[int, bytes], kind: int) -> str:
    return parts.get(kind, b"").rstrip(b"\0").decode()


def _number(parts: dict[int, bytes], kind: int) -> int:
    return int.from_bytes(parts.get(kind, b"\0"), "little" if _LITTLE else "big")


_LITTLE = struct.pack("=H", 1) == b"\1\0"


def _address(raw: bytes) -> Address:
    return ipaddress.ip_address(raw)


def _family(address: Address | Interface) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
