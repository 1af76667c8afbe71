"""Routes of the main table (linux/rtnetlink.h)."""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE
from pyroute2.netlink.rtnl import (
    RTM_GETROUTE,
    RTM_NEWROUTE,
    rt_proto,
    rt_scope,
    rt_type,
)
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from berth.linux.netlink import Address, Network
from berth.linux.netlink.connection import Netlink, Request

_MAIN = 254
_UNICAST = rt_type["unicast"]
_EVERYWHERE = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route; `link` an index (0 for a route with several next hops), `gateway` None: on
    the link itself."""

    destination: Network
    link: int
    gateway: Address | None


def add_default(index: int, gateway: Address) -> Request:
    message = rtmsg()
    message["family"] = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    message["table"] = _MAIN
    message["proto"] = rt_proto["boot"]
    message["scope"] = rt_scope["universe"]
    message["type"] = _UNICAST
    message["attrs"] = [("RTA_GATEWAY", str(gateway)), ("RTA_OIF", index)]
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    return Request(f"add default route by {gateway}", RTM_NEWROUTE, message, flags)


def dump(connection: Netlink) -> list[Route]:
    """Unicast IPv4 and IPv6 routes of the main table."""
    message = rtmsg()
    message["family"] = socket.AF_UNSPEC
    replies = connection.dump(Request("list routes", RTM_GETROUTE, message, NLM_F_DUMP))
    found = (_route(reply.decode(rtmsg)) for reply in replies if reply.kind == RTM_NEWROUTE)
    return [route for route in found if route is not None]


def _route(message: Any) -> Route | None:
    # The field holds one byte; a table beyond 255 is in the attribute alone.
    table = message.get_attr("RTA_TABLE") or message["table"]
    family = message["family"]
    if message["type"] != _UNICAST or table != _MAIN or family not in _EVERYWHERE:
        return None
    # A default route has no RTA_DST.
    destination = message.get_attr("RTA_DST") or _EVERYWHERE[family]
    gateway = message.get_attr("RTA_GATEWAY")
    return Route(
        ipaddress.ip_network((destination, message["dst_len"])),
        message.get_attr("RTA_OIF") or 0,
        ipaddress.ip_address(gateway) if gateway else None,
    )
