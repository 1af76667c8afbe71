"""Channels inside WebSocket messages: one byte of channel number, then payload.

Binary protocols put the number itself before raw bytes. Base64 protocols send text: the digit of
the number, then base64, for clients that cannot read binary messages. Version 5 closes one channel
by the message 255, channel.
Source: Kubernetes `apiserver/pkg/util/wsstream`, KEP-4006 (version 5).
"""

import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class Channel(IntEnum):
    """Of exec and attach. Port-forward counts 2n data, 2n+1 error for its port n."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    ERROR = 3
    RESIZE = 4
    CLOSE = 255


class ChannelError(Exception):
    """A message that this protocol cannot mean; the connection ends."""


@dataclass(frozen=True, slots=True)
class ChannelData:
    channel: int
    payload: bytes | memoryview


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The peer sends no more on this channel (version 5)."""

    channel: int


def encode(channel: int, payload: bytes | memoryview, base64: bool) -> bytes:
    """One whole message."""
    if base64:
        return b"%d" % channel + binascii.b2a_base64(payload, newline=False)
    return bytes((channel,)) + payload


class ChannelReader:
    """Turns pieces of messages into channel data; holds at most three bytes."""

    def __init__(self, base64: bool, closes: bool) -> None:
        self._base64 = base64
        self._closes = closes
        self._channel: int | None = None
        self._rest = b""

    def feed(
        self, piece: bytes | bytearray | memoryview, end: bool
    ) -> Iterator[ChannelData | ChannelClosed]:
        """Data in the next piece of a message; `end` says that the message ends with it."""
        # A message may come in fragments, and an empty message has no channel and means nothing.
        view = memoryview(piece)
        if self._channel is None and view:
            self._channel = self._number(view[0])
            view = view[1:]
        if self._channel is not None and view:
            yield from self._payload(self._channel, view)
        if end:
            self._end_message()

    def _number(self, byte: int) -> int:
        if not self._base64:
            return byte
        if not 0x30 <= byte <= 0x39:
            raise ChannelError(f"message begins with byte {byte}, not with a channel digit")
        return byte - 0x30

    def _payload(self, channel: int, view: memoryview) -> Iterator[ChannelData | ChannelClosed]:
        if self._closes and channel == Channel.CLOSE:
            yield from (ChannelClosed(number) for number in view)
        elif self._base64:
            yield ChannelData(channel, self._decode(view))
        else:
            yield ChannelData(channel, view)

    def _decode(self, view: memoryview) -> bytes:
        # Four characters are three bytes: what is cut in between waits for the next piece.
        text = self._rest + view
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        try:
            return binascii.a2b_base64(text[:whole], strict_mode=True)
        except binascii.Error as error:
            raise ChannelError(f"message is not base64: {error}") from error

    def _end_message(self) -> None:
        if self._rest:
            raise ChannelError("message is not base64: its length is not a multiple of 4")
        self._channel = None
