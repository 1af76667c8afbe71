"""Elements of nftables maps, and what the kernel's tables look like, by nfnetlink.

An element is added or removed in 0.3 ms, most of it pyroute2's encoding (p50 of 300 on Linux
6.18); to start `nft` for it takes longer than all the rest of an attach.
"""

import errno
from collections.abc import Sequence

from pyroute2.netlink import NETLINK_NETFILTER, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, nlmsg
from pyroute2.netlink.nfnetlink import NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_DELCHAIN,
    NFT_MSG_DELRULE,
    NFT_MSG_DELSET,
    NFT_MSG_DELSETELEM,
    NFT_MSG_DELTABLE,
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETRULE,
    NFT_MSG_NEWSETELEM,
    nft_chain_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
)

from berth.linux.netlink.connection import Netlink, NetlinkError, Received, Request
from cri_shim.network.bridge.ruleset import Element

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_SUBSYSTEM = NFNL_SUBSYS_NFTABLES << 8
"""The upper byte of a message's type."""
_DELETIONS = frozenset(
    _SUBSYSTEM | kind
    for kind in (
        NFT_MSG_DELTABLE,
        NFT_MSG_DELCHAIN,
        NFT_MSG_DELRULE,
        NFT_MSG_DELSET,
        NFT_MSG_DELSETELEM,
    )
)
_TABLE_NAME = 1
"""The name of its table is attribute 1 of every nf_tables message."""
_INET = 1
_FAMILIES = {1: "inet", 2: "ip", 10: "ip6"}
_HOOK_FORWARD, _POLICY_DROP = 2, 0


def connect() -> Netlink:
    return Netlink(NETLINK_NETFILTER)


def monitor() -> Netlink:
    """A socket that hears every change of nftables in the thread's network namespace."""
    listener = Netlink(NETLINK_NETFILTER, groups=(NFNLGRP_NFTABLES,))
    listener.socket.setblocking(False)
    return listener


def add(connection: Netlink, table: str, entries: Sequence[Element]) -> None:
    """Publish all or none; an element that is there already is left as it is."""
    kind, flags = NFT_MSG_NEWSETELEM, NLM_F_ACK | NLM_F_CREATE
    _batch(connection, [_request("publish", kind, flags, table, entry) for entry in entries])


def remove(connection: Netlink, table: str, entries: Sequence[Element]) -> None:
    """Take them away; those that are not there (or whose table is gone) are fine."""
    kind = NFT_MSG_DELSETELEM
    requests = [_request("unpublish", kind, NLM_F_ACK, table, entry) for entry in entries]
    try:
        _batch(connection, requests)
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        # A batch is one transaction: with one element missing it takes none away.
        if len(entries) > 1:
            for entry in entries:
                remove(connection, table, [entry])


def rules(connection: Netlink, table: str) -> int:
    """How many rules the table has; 0 when it is not there."""
    message = nft_rule_msg()
    message["nfgen_family"] = _INET
    message["attrs"] = [("NFTA_RULE_TABLE", table)]
    what = f"list rules of table {table}"
    request = Request(what, _SUBSYSTEM | NFT_MSG_GETRULE, message, NLM_F_DUMP)
    return sum(1 for reply in connection.dump(request) if _concerns(reply, table))


def is_deletion(change: Received, table: str) -> bool:
    """Whether somebody took something out of our table."""
    return change.kind in _DELETIONS and _concerns(change, table)


def dropping_forward_chains(connection: Netlink) -> list[str]:
    """Family, table and name of each chain whose policy drops what the host forwards."""
    request = Request("list chains", _SUBSYSTEM | NFT_MSG_GETCHAIN, nfgen_msg(), NLM_F_DUMP)
    found = []
    for reply in connection.dump(request):
        chain = reply.decode(nft_chain_msg)
        hook = chain.get_attr("NFTA_CHAIN_HOOK")  # only base chains have one
        family = _FAMILIES.get(chain["nfgen_family"])
        if (
            family
            and hook is not None
            and hook.get_attr("NFTA_HOOK_HOOKNUM") == _HOOK_FORWARD
            and chain.get_attr("NFTA_CHAIN_POLICY") == _POLICY_DROP
        ):
            names = (chain.get_attr(f"NFTA_CHAIN_{part}") for part in ("TABLE", "NAME"))
            found.append(" ".join((family, *names)))
    return found


def _concerns(message: Received, table: str) -> bool:
    name = message.attribute(nfgen_msg.get_size(), _TABLE_NAME)
    return name is not None and name.rstrip(b"\0") == table.encode()


def _batch(connection: Netlink, requests: Sequence[Request]) -> None:
    """As one transaction: all or none. The borders ask for no acknowledgement."""
    connection.send(
        [
            Request("begin a batch", _BATCH_BEGIN, _border(), 0),
            *requests,
            Request("end a batch", _BATCH_END, _border(), 0),
        ]
    )


def _border() -> nlmsg:
    message = nfgen_msg()
    message["res_id"] = NFNL_SUBSYS_NFTABLES
    return message


def _request(verb: str, kind: int, flags: int, table: str, entry: Element) -> Request:
    key, data = ({"attrs": [("NFTA_DATA_VALUE", raw)]} for raw in (entry.key, entry.data))
    element = {"attrs": [("NFTA_SET_ELEM_KEY", key), ("NFTA_SET_ELEM_DATA", data)]}
    message = nft_set_elem_list_msg()
    message["nfgen_family"] = _INET
    message["attrs"] = [
        ("NFTA_SET_ELEM_LIST_TABLE", table),
        ("NFTA_SET_ELEM_LIST_SET", entry.map),
        ("NFTA_SET_ELEM_LIST_ELEMENTS", [element]),
    ]
    return Request(f"{verb} {entry} in table {table}", _SUBSYSTEM | kind, message, flags)
