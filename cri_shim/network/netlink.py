"""Netlink framing: messages described as data, sent in batches, answered by error or dump.

Raw messages and not pyroute2: on the attach path that takes three times as long, and every socket
of it brings an event loop along.
"""

import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ACK = 0x4
CREATE = 0x400
EXCLUSIVE = 0x200
REPLACE = 0x100
_REQUEST = 0x1
_DUMP = 0x300
_NESTED = 0x8000
_TYPE_MASK = 0x3FFF

_ERROR = 2
_DONE = 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_SOL_NETLINK = 270
_ADD_MEMBERSHIP = 1
_CAP_ACK = 10
_EXT_ACK = 11
_ACK_TLVS = 0x200
_ANSWER_S = 30
_BUFFER = 1 << 18


class NetlinkError(OSError):
    """The kernel refused one message: errno, and in the text what it was and the kernel's words."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request. `words` say what it does, for errors: "add address 10.0.0.2/16 to eth0"."""

    words: str
    kind: int
    body: bytes
    flags: int = ACK


@dataclass(frozen=True, slots=True)
class Answer:
    """One message from the kernel; `sender` is the port id of who caused it (0: the kernel)."""

    kind: int
    sender: int
    body: bytes


def attribute(kind: int, data: bytes) -> bytes:
    size = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(size, kind) + data + b"\0" * (-size % 4)


def nest(kind: int, *inner: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(inner))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Kind to content of a run of attributes; of a kind that repeats, the last."""
    found = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < _ATTRIBUTE.size:
            break
        found[kind & _TYPE_MASK] = data[at + _ATTRIBUTE.size : at + size]
        at += (size + 3) & ~3
    return found


class Netlink:
    """One netlink socket, bound to the network namespace of the thread that makes it.

    Blocking; any thread may use it, one at a time.
    """

    def __init__(self, family: int, groups: Sequence[int] = ()) -> None:
        self._lock = threading.Lock()
        self._sequence = 0
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        try:
            self.socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
            self.socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
            self.socket.bind((0, 0))
            for group in groups:
                self.socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
            self.socket.settimeout(_ANSWER_S)
        except OSError:
            self.socket.close()
            raise

    @property
    def port_id(self) -> int:
        port: int = self.socket.getsockname()[0]
        return port

    def close(self) -> None:
        self.socket.close()

    def send(self, messages: Sequence[Message]) -> None:
        """Carry out every message in one round trip; NetlinkError for the first that failed.

        Messages after a failed one are carried out all the same (except in nfnetlink batches).
        """
        with self._lock:
            first = self._sequence + 1
            self._sequence += len(messages)
            self.socket.send(
                b"".join(
                    _frame(message.kind, message.flags, first + i, message.body)
                    for i, message in enumerate(messages)
                )
            )
            errors = self._collect(
                {first + i for i, message in enumerate(messages) if message.flags & ACK}, first
            )
        if errors:
            sequence, (code, words) = min(errors.items())
            raise _refused(messages[sequence - first].words, code, words)

    def dump(self, kind: int, body: bytes, words: str) -> list[Answer]:
        """Every answer to one dump request."""
        return self._answers(Message(words, kind, body, _DUMP), _DONE)

    def ask(self, message: Message) -> list[Answer]:
        """The answers to one request that is not a dump."""
        return self._answers(message, _ERROR)

    def _answers(self, message: Message, last: int) -> list[Answer]:
        answers: list[Answer] = []
        with self._lock:
            self._sequence += 1
            self.socket.send(_frame(message.kind, message.flags, self._sequence, message.body))
            while True:
                for sequence, flags, answer in _frames(self.socket.recv(_BUFFER)):
                    if sequence != self._sequence:
                        continue
                    if answer.kind == _ERROR and (error := _error(answer.body, flags))[0]:
                        raise _refused(message.words, *error)
                    if answer.kind == last:
                        return answers
                    answers.append(answer)

    def _collect(self, waiting: set[int], first: int) -> dict[int, tuple[int, str]]:
        """Errors by sequence number. An error for a message without an ack ends a batch."""
        errors: dict[int, tuple[int, str]] = {}
        while waiting:
            for sequence, flags, answer in _frames(self.socket.recv(_BUFFER)):
                if answer.kind != _ERROR or sequence < first:
                    continue
                code, words = _error(answer.body, flags)
                if code:
                    errors[sequence] = (code, words)
                if sequence not in waiting:
                    return errors
                waiting.discard(sequence)
        return errors


def read(data: bytes) -> Iterator[tuple[int, Answer]]:
    """Sequence number and message, for each message in one datagram."""
    return ((sequence, answer) for sequence, _, answer in _frames(data))


def _frames(data: bytes) -> Iterator[tuple[int, int, Answer]]:
    at = 0
    while at + _HEADER.size <= len(data):
        size, kind, flags, sequence, sender = _HEADER.unpack_from(data, at)
        if size < _HEADER.size:
            return
        yield sequence, flags, Answer(kind, sender, data[at + _HEADER.size : at + size])
        at += (size + 3) & ~3


def _frame(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST, sequence, 0) + body


def _error(body: bytes, flags: int) -> tuple[int, str]:
    """errno (0: done) and the kernel's words (capped acks carry no copy of the request)."""
    (code,) = struct.unpack_from("=i", body)
    if not flags & _ACK_TLVS:
        return -code, ""
    found = attributes(body[4 + _HEADER.size :])
    return -code, found.get(1, b"").rstrip(b"\0").decode(errors="replace")


def _refused(what: str, code: int, words: str) -> NetlinkError:
    reason = f"{os.strerror(code)} ({words})" if words else os.strerror(code)
    return NetlinkError(code, f"cannot {what}: {reason}")
