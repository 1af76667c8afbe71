"""Queueing disciplines of links: how fast packets leave (linux/pkt_sched.h)."""

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, nla
from pyroute2.netlink.rtnl import RTM_NEWQDISC, TC_H_ROOT
from pyroute2.netlink.rtnl.tcmsg import tcmsg
from pyroute2.netlink.rtnl.tcmsg.sched_tbf import options

from berth.linux.netlink.connection import Request

_ETHERNET = 1
"""TC_LINKLAYER_ETHERNET: with it the kernel wants no table of transmission times from us."""
_U32 = 0xFFFFFFFF


class _Tbf(tcmsg):
    """The library's tbf stops at attribute 3: rates of 4 GiB/s and more need TCA_TBF_RATE64, and
    a burst in bytes TCA_TBF_BURST."""

    nla_map = (("TCA_UNSPEC", "none"), ("TCA_KIND", "asciiz"), ("TCA_OPTIONS", "tbf_options"))

    class tbf_options(nla):  # noqa: N801  # the name that nla_map refers to
        nla_map = (
            *options.nla_map,
            ("TCA_TBF_RATE64", "uint64"),
            ("TCA_TBF_PRATE64", "uint64"),
            ("TCA_TBF_BURST", "uint32"),
        )
        tbf_parms = options.tbf_parms
        rtab = ptab = nla


def limit_rate(index: int, bits: int, mtu: int) -> Request:
    """At most so many bits per second leave by this link: a token bucket filter (tc-tbf(8)) that
    lets a burst of 10 ms or ten packets through and queues 50 ms of packets."""
    rate = bits // 8
    burst = min(max(rate // 100, 10 * mtu), _U32)
    limit = min(burst + rate // 20, _U32)
    parameters = {"rate_cell_log": 0, "rate___reserved": _ETHERNET, "rate": min(rate, _U32)}
    message = _Tbf()
    message["index"] = index
    message["parent"] = TC_H_ROOT
    attributes = [
        ("TCA_TBF_PARMS", parameters | {"limit": limit}),
        ("TCA_TBF_BURST", burst),
        ("TCA_TBF_RATE64", rate),
    ]
    message["attrs"] = [("TCA_KIND", "tbf"), ("TCA_OPTIONS", {"attrs": attributes})]
    flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    return Request(f"limit link {index} to {bits} bit/s", RTM_NEWQDISC, message, flags)
