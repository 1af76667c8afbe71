"""Addresses of links (linux/if_addr.h)."""

import ipaddress
import socket

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR
from pyroute2.netlink.rtnl.ifaddrmsg import IFA_F_NODAD, ifaddrmsg

from berth.linux.netlink import Interface
from berth.linux.netlink.connection import Netlink, Request


def add(index: int, address: Interface) -> Request:
    """An address without duplicate detection: this node alone gives its addresses out, and IPv6
    would keep the address unusable for a second or two (RFC 4862, section 5.4)."""
    message = _message(index, address)
    message["flags"] = IFA_F_NODAD
    # The peer's address of a point-to-point link; for all others the kernel wants it equal.
    message["attrs"].append(("IFA_ADDRESS", str(address.ip)))
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    return Request(f"add address {address} to link {index}", RTM_NEWADDR, message, flags)


def remove(index: int, address: Interface) -> Request:
    what = f"remove address {address} from link {index}"
    return Request(what, RTM_DELADDR, _message(index, address))


def dump(connection: Netlink) -> dict[int, list[Interface]]:
    """Every address of the network namespace, by the index of its link."""
    found: dict[int, list[Interface]] = {}
    for reply in connection.dump(Request("list addresses", RTM_GETADDR, ifaddrmsg(), NLM_F_DUMP)):
        message = reply.decode(ifaddrmsg)
        # IPv6 has IFA_LOCAL only where there is a peer.
        own = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        address = ipaddress.ip_interface((own, message["prefixlen"]))
        found.setdefault(message["index"], []).append(address)
    return found


def _message(index: int, address: Interface) -> ifaddrmsg:
    message = ifaddrmsg()
    message["family"] = socket.AF_INET if address.version == 4 else socket.AF_INET6
    message["prefixlen"] = address.network.prefixlen
    message["index"] = index
    message["attrs"] = [("IFA_LOCAL", str(address.ip))]
    return message
