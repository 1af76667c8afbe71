"""Cuts a byte stream into SPDY frames, wherever the reads ended.

Control frames are gathered whole, up to MAX_CONTROL. Data frames are handed on in the pieces in
which they come, so that a frame of 16 MiB costs no memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cri_shim.wire.spdy_frames import (
    FLAG_FIN,
    HEADER_SIZE,
    MAX_CONTROL,
    TWO_U32,
    VERSION,
    ControlFrame,
    FrameError,
    parse_control,
)


@dataclass(frozen=True, slots=True)
class DataPiece:
    """Part of a data frame. `payload` is a view of the bytes given to `cut`."""

    stream_id: int
    payload: memoryview
    first: bool
    fin: bool
    """The frame finishes the stream and this is its last piece."""


class FrameCutter:
    """Feed it with `cut`; it keeps what is incomplete, never more than one control frame."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._body = bytearray()
        self._first_word = 0
        self._flags = 0
        self._missing = 0
        self._in_frame = False
        self._first_piece = False

    def cut(self, data: memoryview) -> Iterator[ControlFrame | DataPiece]:
        """Frames and pieces in `data`; raise FrameError where the session cannot go on."""
        # The second condition: a frame without a body is complete with its head, which may be the
        # last of the data.
        at = 0
        while at < len(data) or (self._in_frame and not self._missing):
            if not self._in_frame:
                at = self._take_head(data, at)
                continue
            part = data[at : at + self._missing]
            at += len(part)
            self._missing -= len(part)
            if self._first_word & 0x80000000:
                yield from self._take_control(part)
            else:
                yield self._take_data(part)

    def _take_head(self, data: memoryview, at: int) -> int:
        wanted = HEADER_SIZE - len(self._head)
        # Only the head may be cut by a read: control bodies are gathered, data goes on in pieces.
        self._head += data[at : at + wanted]
        if len(self._head) == HEADER_SIZE:
            self._begin(*TWO_U32.unpack(self._head))
            self._head.clear()
        return min(at + wanted, len(data))

    def _begin(self, first_word: int, second_word: int) -> None:
        self._first_word = first_word
        self._flags = second_word >> 24
        self._missing = second_word & 0xFFFFFF
        self._in_frame = self._first_piece = True
        # Refused by the head, before a body is waited for: 16 MiB of it may be announced.
        if not first_word:
            raise FrameError("data frame for stream 0")
        if first_word & 0x80000000:
            version = first_word >> 16 & 0x7FFF
            if version != VERSION:
                raise FrameError(f"control frame of SPDY version {version}, not {VERSION}")
            if self._missing > MAX_CONTROL:
                raise FrameError(f"control frame of {self._missing} bytes, over {MAX_CONTROL}")

    def _take_control(self, part: memoryview) -> Iterator[ControlFrame]:
        self._body += part
        if self._missing:
            return
        body, self._body = bytes(self._body), bytearray()
        self._in_frame = False
        frame = parse_control(self._first_word & 0xFFFF, self._flags, body)
        if frame is not None:
            yield frame

    def _take_data(self, part: memoryview) -> DataPiece:
        first, self._first_piece = self._first_piece, False
        self._in_frame = self._missing > 0
        # FIN holds for the frame's end: with an earlier piece the stream would lose the rest.
        fin = bool(self._flags & FLAG_FIN) and not self._in_frame
        return DataPiece(self._first_word, part, first, fin)
