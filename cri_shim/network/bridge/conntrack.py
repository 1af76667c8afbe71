"""Ends flows in the kernel's connection table (nf_conntrack), by nfnetlink."""

import errno
import itertools
import socket
from collections.abc import Iterable
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_CTNETLINK
from pyroute2.netlink.nfnetlink.nfctsocket import (
    FILTER_FLAG_CTA_PROTO_DST_PORT,
    FILTER_FLAG_CTA_PROTO_NUM,
    IPCTNL_MSG_CT_DELETE,
    IPCTNL_MSG_CT_GET,
    nfct_msg,
)

from berth.linux.netlink.connection import Netlink, Request, unless

_SUBSYSTEM = NFNL_SUBSYS_CTNETLINK << 8
_GET = _SUBSYSTEM | IPCTNL_MSG_CT_GET
_UDP = socket.IPPROTO_UDP


def forget_flows(connection: Netlink, ports: Iterable[int]) -> None:
    """End the UDP flows to these ports of the host.

    Address translation is decided by the first packet of a flow. UDP has no end: a flow that began
    before a port was published, or that outlives its pod, would keep its old way for as long as
    packets come.

    The kernel walks its whole table for each port and family: some ten milliseconds.
    """
    # A filter is of one family (EOPNOTSUPP for AF_UNSPEC).
    for port, family in itertools.product(ports, (socket.AF_INET, socket.AF_INET6)):
        # Linux 5.8 and later send only what matches; earlier ones ignore the filter and send all.
        request = Request("list connections", _GET, _filter(family, port), NLM_F_DUMP)
        for reply in connection.dump(request):
            entry = reply.decode(nfct_msg)
            if _is_to(entry, port):
                unless(errno.ENOENT, connection, _deletion(entry))


def _filter(family: int, port: int) -> nfct_msg:
    protocol = [("CTA_PROTO_NUM", _UDP), ("CTA_PROTO_DST_PORT", port)]
    flags = FILTER_FLAG_CTA_PROTO_NUM | FILTER_FLAG_CTA_PROTO_DST_PORT
    message = nfct_msg()
    message["nfgen_family"] = family
    message["attrs"] = [
        ("CTA_FILTER", {"attrs": [("CTA_FILTER_ORIG_FLAGS", flags)]}),
        ("CTA_TUPLE_ORIG", {"attrs": [("CTA_TUPLE_PROTO", {"attrs": protocol})]}),
    ]
    return message


def _is_to(entry: Any, port: int) -> bool:
    protocol = entry.get_nested("CTA_TUPLE_ORIG", "CTA_TUPLE_PROTO")
    found = (protocol.get_attr("CTA_PROTO_NUM"), protocol.get_attr("CTA_PROTO_DST_PORT"))
    return found == (_UDP, port)


def _deletion(entry: Any) -> Request:
    """The id as well, so that a new flow between the same ends is left alone."""
    message = nfct_msg()
    message["nfgen_family"] = entry["nfgen_family"]
    message["attrs"] = [
        (name, entry.get_attr(name))
        for name in ("CTA_TUPLE_ORIG", "CTA_ID")
        if entry.get_attr(name) is not None
    ]
    return Request("end a UDP flow", _SUBSYSTEM | IPCTNL_MSG_CT_DELETE, message, NLM_F_ACK)
