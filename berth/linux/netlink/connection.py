"""A netlink socket: requests in batches, each acknowledged, and dumps. Blocking."""

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import (
    NETLINK_EXT_ACK,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    SOL_NETLINK,
    nlmsg,
    nlmsgerr,
)

_ADD_MEMBERSHIP = 1
_HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id (netlink(7))."""
_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_KIND = 0x3FFF
"""An attribute's type without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_TIMEOUT_S = 30
# The kernel fills the datagrams of a dump up to the buffer that the last one was read with, 32 KiB
# at most (netlink_dump in net/netlink/af_netlink.c): a large buffer saves round trips. What does
# not fit into the buffer is lost.
_BUFFER = 1 << 18


class NetlinkError(OSError):
    """The kernel refused one request: errno, what was asked for, and the kernel's explanation."""


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel; `kind` is its type, an RTM_*, NFT_MSG_* or similar number.

    `what` says what it does, for errors: "add address 10.0.0.2/16 to link 3".
    """

    what: str
    kind: int
    message: nlmsg
    flags: int = NLM_F_ACK

    def encoded(self, sequence: int) -> bytes:
        header = self.message["header"]
        header["type"] = self.kind
        header["flags"] = self.flags | NLM_F_REQUEST
        header["sequence_number"] = sequence
        # Encoding appends: a request that is sent twice (a bridge came back) starts afresh.
        self.message.data = bytearray()
        self.message.encode()
        # Messages of a batch begin at multiples of four; their own length does not say the padding.
        return bytes(self.message.data) + bytes(-len(self.message.data) % 4)


@dataclass(frozen=True, slots=True)
class Received:
    """One message of the kernel, not decoded yet: that costs some 50 µs, and is often not needed.

    `sender` is the port id of the socket whose request caused it, 0 for the kernel itself.
    """

    kind: int
    sequence: int
    sender: int
    data: bytes
    offset: int
    end: int

    def decode(self, format_: type[nlmsg]) -> Any:
        """As this message class of the library."""
        message = format_(self.data, offset=self.offset)
        message.decode()
        return message

    @property
    def error(self) -> int:
        """Of an NLMSG_ERROR: the negative errno, 0 for an acknowledgement."""
        code: int = _ERROR.unpack_from(self.data, self.offset + _HEADER.size)[0]
        return code

    def attribute(self, after: int, kind: int) -> bytes | None:
        """One attribute behind a family header of `after` bytes, without decoding the others: of
        a link there are forty, which takes the library 0.2 ms."""
        at = self.offset + _HEADER.size + after
        while at + _ATTRIBUTE.size <= self.end:
            size, found = _ATTRIBUTE.unpack_from(self.data, at)
            if size < _ATTRIBUTE.size:
                return None
            if found & _KIND == kind:
                return self.data[at + _ATTRIBUTE.size : at + size]
            at += (size + 3) & ~3
        return None


class Netlink:
    """One netlink socket, bound to the network namespace of the thread that makes it.

    Any thread may use it afterwards, wherever that thread is: a socket keeps its namespace. One
    exchange at a time.
    """

    def __init__(self, family: int = socket.NETLINK_ROUTE, groups: Sequence[int] = ()) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        try:
            # Errors then carry a sentence beside the number ("Device does not exist").
            self.socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            self.socket.bind((0, 0))
            for group in groups:
                self.socket.setsockopt(SOL_NETLINK, _ADD_MEMBERSHIP, group)
            # A request waits for the kernel's network lock (RTNL), which others may hold for long.
            self.socket.settimeout(_TIMEOUT_S)
        except OSError:
            self.socket.close()
            raise

    @property
    def port_id(self) -> int:
        port: int = self.socket.getsockname()[0]
        return port

    def close(self) -> None:
        self.socket.close()

    def send(self, requests: Sequence[Request]) -> None:
        """Carry out every request in one round trip; NetlinkError for the first that failed.

        Requests after a failed one are carried out all the same (except in nfnetlink batches).
        """
        with self._lock:
            first = self._sequence + 1
            self._sequence += len(requests)
            self.socket.send(b"".join(r.encoded(first + i) for i, r in enumerate(requests)))
            errors = self._acknowledged(
                {first + i for i, r in enumerate(requests) if r.flags & NLM_F_ACK}, first
            )
        if errors:
            sequence, error = min(errors.items())
            raise _refused(requests[sequence - first].what, error)

    def get(self, request: Request) -> Received:
        """The one message that `request` (without NLM_F_ACK) is replied to with."""
        (message,) = self._replies(request)
        return message

    def dump(self, request: Request) -> list[Received]:
        """Every message of a dump."""
        return list(self._replies(request))

    def _replies(self, request: Request) -> Iterator[Received]:
        dump = request.flags & NLM_F_DUMP == NLM_F_DUMP
        with self._lock:
            self._sequence += 1
            self.socket.send(request.encoded(self._sequence))
            while True:
                for message in received(self.socket.recv(_BUFFER)):
                    # What is left of an exchange that timed out.
                    if message.sequence != self._sequence:
                        continue
                    if message.kind == NLMSG_DONE:
                        return
                    if message.kind == NLMSG_ERROR:
                        raise _refused(request.what, message.decode(nlmsgerr))
                    yield message
                    if not dump:
                        return

    def _acknowledged(self, waiting: set[int], first: int) -> dict[int, Any]:
        """Wait for these acknowledgements; errors by sequence number.

        An error for a request that asked for none ends an nfnetlink batch: nothing more comes.
        """
        errors: dict[int, Any] = {}
        while waiting:
            for message in received(self.socket.recv(_BUFFER)):
                if message.kind != NLMSG_ERROR or message.sequence < first:
                    continue
                if message.error:
                    errors[message.sequence] = message.decode(nlmsgerr)
                if message.sequence not in waiting:
                    return errors
                waiting.discard(message.sequence)
        return errors


def received(data: bytes) -> Iterator[Received]:
    """The messages in one datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, _, sequence, sender = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield Received(kind, sequence, sender, data, at, min(at + size, len(data)))
        at += (size + 3) & ~3


def unless(code: int, connection: Netlink, request: Request) -> bool:
    """Send one request; False where the kernel refuses it with this errno (ENODEV: it is gone)."""
    try:
        connection.send([request])
    except NetlinkError as error:
        if error.errno != code:
            raise
        return False
    return True


def _refused(what: str, error: Any) -> NetlinkError:
    code = -error["error"] or errno.EIO
    said = error.get_attr("NLMSGERR_ATTR_MSG")
    reason = f"{os.strerror(code)} ({said})" if said else os.strerror(code)
    return NetlinkError(code, f"cannot {what}: {reason}")
