"""Elements of nftables maps and entries of the connection table, by netlink.

A spawn of `nft` takes longer than all the rest of an attach; one batch here takes tens of
microseconds. Numbers from linux/netfilter/nfnetlink.h, nf_tables.h and nfnetlink_conntrack.h.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Sequence

from cri_shim.network import netlink
from cri_shim.network.bridge.ruleset import Element
from cri_shim.network.netlink import ACK, CREATE, Answer, Message, Netlink, NetlinkError

_FAMILY = 12
_GROUP_NFTABLES = 7
_NFTABLES, _CONNTRACK = 10, 1
_INET = 1
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_ELEMENTS, _DELETE_ELEMENTS = _NFTABLES << 8 | 12, _NFTABLES << 8 | 14
_GET_RULES = _NFTABLES << 8 | 7
_DELETIONS = frozenset(_NFTABLES << 8 | kind for kind in (2, 5, 8, 11, 14))
"""Table, chain, rule, set, element deleted."""
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEMENT = 1, 2, 3, 1
_ELEMENT_KEY, _ELEMENT_DATA, _DATA_VALUE = 1, 2, 1
_TABLE_ATTRIBUTE = 1
"""The table's name has this number in every nf_tables message."""
_GET_CHAIN, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY = _NFTABLES << 8 | 4, 3, 4, 5
_HOOK_NUMBER, _FORWARD, _DROP = 1, bytes([0, 0, 0, 2]), bytes(4)
_FAMILY_NAMES = {1: "inet", 2: "ip", 10: "ip6"}
_GET_ENTRIES, _DELETE_ENTRY = _CONNTRACK << 8 | 1, _CONNTRACK << 8 | 2
_TUPLE_ORIGINAL, _TUPLE_PROTOCOL, _PROTOCOL_NUMBER, _PROTOCOL_TO, _ENTRY_ID = 1, 2, 1, 3, 12
_UDP = 17

_HEAD = struct.Struct("!BBH")


def connect() -> Netlink:
    return Netlink(_FAMILY)


def monitor() -> Netlink:
    """A socket that hears every change of nftables in the thread's network namespace."""
    listener = Netlink(_FAMILY, groups=(_GROUP_NFTABLES,))
    listener.socket.setblocking(False)
    return listener


def add(connection: Netlink, table: str, entries: Sequence[Element]) -> None:
    """Publish all or none; an element that is there already is left as it is."""
    _batch(connection, "publish", _NEW_ELEMENTS, ACK | CREATE, table, entries)


def remove(connection: Netlink, table: str, entries: Sequence[Element]) -> None:
    """Take them away; those that are not there (or whose table is gone) are fine."""
    try:
        _batch(connection, "unpublish", _DELETE_ELEMENTS, ACK, table, entries)
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        if len(entries) > 1:  # a batch with one that is missing takes none away
            for entry in entries:
                remove(connection, table, [entry])


def rules(connection: Netlink, table: str) -> int:
    """How many rules the table has; 0 when it is not there."""
    body = _HEAD.pack(_INET, 0, 0) + netlink.text(_TABLE_ATTRIBUTE, table)
    answers = connection.dump(_GET_RULES, body, f"list rules of table {table}")
    return sum(1 for answer in answers if _concerns(answer, table))


def is_deletion(answer: Answer, table: str) -> bool:
    """Whether somebody took something out of our table."""
    return answer.kind in _DELETIONS and _concerns(answer, table)


def dropping_forward_chains(connection: Netlink) -> list[str]:
    """Family, table and name of each chain whose policy drops what the host forwards."""
    head = _HEAD.pack(0, 0, 0)
    found = []
    for answer in connection.dump(_GET_CHAIN, head, "list chains"):
        parts = netlink.attributes(answer.body[_HEAD.size :])
        hook = netlink.attributes(parts.get(_CHAIN_HOOK, b"")).get(_HOOK_NUMBER)
        family = _FAMILY_NAMES.get(answer.body[0])
        if family and hook == _FORWARD and parts.get(_CHAIN_POLICY) == _DROP:
            names = (parts[kind].rstrip(b"\0").decode() for kind in (_TABLE_ATTRIBUTE, _CHAIN_NAME))
            found.append(" ".join((family, *names)))
    return found


def forget_flows(connection: Netlink, ports: Iterable[int]) -> None:
    """End the UDP flows to these ports of the host: a flow that began before a port was published
    (or that outlives its pod) would keep its old way for as long as packets come.

    Walks the whole connection table: milliseconds.
    """
    wanted = frozenset(ports)
    head = _HEAD.pack(socket.AF_UNSPEC, 0, 0)
    for answer in connection.dump(_GET_ENTRIES, head, "list connections"):
        if request := _forget(answer.body, wanted):
            _ignore_missing(connection, request)


def _forget(body: bytes, ports: frozenset[int]) -> Message | None:
    entry = netlink.attributes(body[_HEAD.size :])
    original = entry.get(_TUPLE_ORIGINAL, b"")
    protocol = netlink.attributes(netlink.attributes(original).get(_TUPLE_PROTOCOL, b""))
    if protocol.get(_PROTOCOL_NUMBER) != bytes([_UDP]):
        return None
    if int.from_bytes(protocol.get(_PROTOCOL_TO, b""), "big") not in ports:
        return None
    request = netlink.nest(_TUPLE_ORIGINAL, original)
    if _ENTRY_ID in entry:
        request += netlink.attribute(_ENTRY_ID, entry[_ENTRY_ID])
    return Message("end a UDP flow", _DELETE_ENTRY, body[: _HEAD.size] + request)


def _ignore_missing(connection: Netlink, request: Message) -> None:
    try:
        connection.send([request])
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise


def _concerns(answer: Answer, table: str) -> bool:
    found = netlink.attributes(answer.body[_HEAD.size :]).get(_TABLE_ATTRIBUTE, b"")
    return found.rstrip(b"\0").decode(errors="replace") == table


def _batch(
    connection: Netlink,
    verb: str,
    kind: int,
    flags: int,
    table: str,
    entries: Sequence[Element],
) -> None:
    border = _HEAD.pack(0, 0, _NFTABLES)
    connection.send(
        [
            Message("begin a batch", _BATCH_BEGIN, border, 0),
            *(
                Message(f"{verb} {entry} in table {table}", kind, _element(table, entry), flags)
                for entry in entries
            ),
            Message("end a batch", _BATCH_END, border, 0),
        ]
    )


def _element(table: str, entry: Element) -> bytes:
    element = netlink.nest(
        _LIST_ELEMENT,
        netlink.nest(_ELEMENT_KEY, netlink.attribute(_DATA_VALUE, entry.key)),
        netlink.nest(_ELEMENT_DATA, netlink.attribute(_DATA_VALUE, entry.data)),
    )
    return (
        _HEAD.pack(_INET, 0, 0)
        + netlink.text(_LIST_TABLE, table)
        + netlink.text(_LIST_SET, entry.map)
        + netlink.nest(_LIST_ELEMENTS, element)
    )
