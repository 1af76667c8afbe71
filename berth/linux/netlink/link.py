"""Network interfaces: bridges, veth pairs, their state and their ports (linux/if_link.h)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP, ifinfmsg, states

from berth.linux.netlink.connection import Netlink, Received, Request

_NEW = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
# Statistics and the settings of each address family are most of what the kernel says of a link.
_SKIP_STATS = ("IFLA_EXT_MASK", 1 << 3)
_IFLA_OPERSTATE = 16
_ALIAS_MOST = 255


@dataclass(frozen=True, slots=True)
class Link:
    """One interface as the kernel lists it.

    `mac` as "0a:58:0a:4d:00:02", `master` the index of its bridge or 0, `kind` such as "bridge" or
    "veth" and empty for a device, `up` whether it was brought up, `operstate` (RFC 2863) whether
    packets pass it: "UP", "DOWN", "LOWERLAYERDOWN", or "UNKNOWN" where the driver does not say.
    """

    index: int
    name: str
    mac: str
    mtu: int
    master: int
    group: int
    up: bool
    operstate: str
    kind: str


def get(connection: Netlink, name: str) -> Link:
    """The link of this name; NetlinkError with ENODEV where there is none."""
    return _link(_get(connection, name).decode(ifinfmsg))


def operstate(connection: Netlink, name: str) -> str:
    """That of `Link` alone, which is cheaper: an attach asks for it three times.

    Being asked, the kernel (since 6.8) first does what it has put off since the carrier came; only
    then does a bridge forward to a new port.
    """
    code = _get(connection, name).attribute(ifinfmsg.get_size(), _IFLA_OPERSTATE)
    return states[code[0]] if code else "UNKNOWN"


def dump(connection: Netlink) -> list[Link]:
    """Every link of the network namespace."""
    request = Request("list links", RTM_GETLINK, _message(_SKIP_STATS), NLM_F_DUMP)
    replies = connection.dump(request)
    return [_link(reply.decode(ifinfmsg)) for reply in replies if reply.kind == RTM_NEWLINK]


def add_bridge(name: str, mac: str, mtu: int) -> Request:
    """A bridge, still down.

    Multicast snooping is off: without a querier on the network it drops the first neighbour
    solicitations of IPv6, which are multicast.
    """
    message = _message(
        _name(name),
        ("IFLA_ADDRESS", mac),
        ("IFLA_MTU", mtu),
        _info("bridge", ("IFLA_BR_MCAST_SNOOPING", 0)),
    )
    return Request(f"make bridge {name}", RTM_NEWLINK, message, _NEW)


def add_veth(name: str, master: int, peer: str, netns: int, mac: str, mtu: int) -> Request:
    """A pair: `name` here, up and in bridge `master`; `peer` with `mac` in namespace fd `netns`.

    The peer is made in its namespace, not moved there: that would be one more change under the
    kernel's network lock. It stays down: a veth cannot open before its other end exists.
    """
    other = [
        _name(peer),
        ("IFLA_NET_NS_FD", netns),
        ("IFLA_ADDRESS", mac),
        ("IFLA_MTU", mtu),
    ]
    message = _message(
        _name(name),
        ("IFLA_MTU", mtu),
        ("IFLA_MASTER", master),
        _info("veth", ("VETH_INFO_PEER", {"family": 0, "attrs": other})),
        up=True,
    )
    return Request(f"make veth pair {name}", RTM_NEWLINK, message, _NEW)


def set_bridge_port(name: str, alias: str) -> Request:
    """Show `alias` beside the port in `ip link`, and let a frame leave by the port it came by.

    Hairpin mode is for a pod that connects to itself by a port of the host: with br_netfilter the
    packet is turned round inside the bridge.
    """
    data = {"attrs": [("IFLA_BRPORT_MODE", 1)]}
    slave = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", data)]
    message = _message(
        _name(name), ("IFLA_IFALIAS", alias[:_ALIAS_MOST]), ("IFLA_LINKINFO", {"attrs": slave})
    )
    return Request(f"set up bridge port {name}", RTM_NEWLINK, message)


def set_up(index: int) -> Request:
    return Request(f"bring up link {index}", RTM_NEWLINK, _message(index=index, up=True))


def set_master(index: int, master: int) -> Request:
    message = _message(("IFLA_MASTER", master), index=index)
    return Request(f"put link {index} into bridge {master}", RTM_NEWLINK, message)


def mark_for_deletion(name: str, group: int) -> Request:
    """Cut the link off now (down) and put it into `group`, for `delete_group`."""
    message = _message(_name(name), ("IFLA_GROUP", group), up=False)
    return Request(f"cut off link {name}", RTM_NEWLINK, message)


def delete_group(group: int) -> Request:
    """Delete every link of the group; ENODEV when it is empty.

    One deletion waits tens of milliseconds until no CPU reads the device any more (an RCU grace
    period); a group waits once for all its links.
    """
    return Request("delete links", RTM_DELLINK, _message(("IFLA_GROUP", group)))


def _message(*attributes: tuple[str, Any], index: int = 0, up: bool | None = None) -> ifinfmsg:
    """`up` None leaves the link as it is: only flags in `change` count."""
    message = ifinfmsg()
    message["index"] = index
    if up is not None:
        message["flags"] = IFF_UP if up else 0
        message["change"] = IFF_UP
    message["attrs"] = list(attributes)
    return message


def _get(connection: Netlink, name: str) -> Received:
    request = Request(f"look at link {name}", RTM_GETLINK, _message(_name(name), _SKIP_STATS), 0)
    return connection.get(request)


def _name(name: str) -> tuple[str, str]:
    return ("IFLA_IFNAME", name)


def _info(kind: str, *data: tuple[str, Any]) -> tuple[str, Any]:
    inner: Sequence[tuple[str, Any]] = [
        ("IFLA_INFO_KIND", kind),
        ("IFLA_INFO_DATA", {"attrs": list(data)}),
    ]
    return ("IFLA_LINKINFO", {"attrs": inner})


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU"),
        master=message.get_attr("IFLA_MASTER") or 0,
        group=message.get_attr("IFLA_GROUP") or 0,
        up=bool(message["flags"] & IFF_UP),
        operstate=message.get_attr("IFLA_OPERSTATE") or "UNKNOWN",
        kind=(info and info.get_attr("IFLA_INFO_KIND")) or "",
    )
