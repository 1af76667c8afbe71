"""A blob over an unreliable line: broken connections are taken up where they broke."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from berth.linux.threads import in_thread
from cri_shim.images.document.manifest import Descriptor, digest_of
from cri_shim.images.errors import BadImage
from cri_shim.images.registry.repository import Registry
from cri_shim.images.registry.transport import BrokenConnectionError


class Sink(Protocol):
    """Where bytes go; `size` is how many it has."""

    size: int

    def write(self, data: bytes) -> None: ...

    def start_over(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Retries:
    """How often to try again: in a row without a byte, and in all; `pause` seconds, doubling."""

    in_a_row: int = 4
    in_all: int = 40
    pause: float = 0.5


async def download(
    registry: Registry,
    wanted: Descriptor,
    sink: Sink,
    retries: Retries,
    count: Callable[[int], None],
) -> None:
    """Fill the sink up to the size wanted; it verifies. `count` hears how much is there.

    Raises BrokenConnectionError when the retries are used up, and what Registry raises.
    """
    # Two counts. A line that brings some bytes each time gets through in the end, so only failures
    # in a row are a reason to give up; but a server that sends one byte a connection must not keep
    # us for ever.
    barren = tries = 0
    while sink.size < wanted.size:
        before = sink.size
        try:
            await _transfer(registry, wanted, sink, count)
        except BrokenConnectionError as error:
            tries += 1
            barren = 0 if sink.size > before else barren + 1
            if barren > retries.in_a_row or tries > retries.in_all:
                raise
            # The server's wish is a lower bound; it is capped where it is read.
            await asyncio.sleep(max(error.wait, retries.pause * 2**barren))


async def _transfer(
    registry: Registry, wanted: Descriptor, sink: Sink, count: Callable[[int], None]
) -> None:
    """One request. Hashing and writing run in a thread; meanwhile the next chunk arrives."""
    async with registry.blob(wanted, sink.size) as body:
        if body.offset != sink.size:
            sink.start_over()
        # hashlib lets go of the GIL for more than 2047 bytes, write(2) always.
        async for chunk in body.chunks():
            await in_thread(sink.write, chunk)
            count(sink.size)
    # Without a Content-Length a connection that is cut looks like a body that is over.
    if sink.size < wanted.size:
        raise BrokenConnectionError("the connection broke")


class Memory:
    """A sink for a small document, checked at the end."""

    def __init__(self, wanted: Descriptor, limit: int, what: str) -> None:
        if wanted.size > limit:
            raise BadImage(f"{what} has {wanted.size} bytes, more than {limit}")
        self._wanted = wanted
        self._what = what
        self._data = bytearray()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._data += data
        self.size = len(self._data)
        # At once, not at the end: the size is from the manifest, the stream from anybody.
        if self.size > self._wanted.size:
            raise BadImage(f"{self._what} is longer than the {self._wanted.size} bytes promised")

    def start_over(self) -> None:
        self._data.clear()
        self.size = 0

    def content(self) -> bytes:
        """The whole document; BadImage where its digest is not the one promised."""
        found = digest_of(bytes(self._data), self._wanted.digest)
        if found != self._wanted.digest:
            raise BadImage(f"{self._what} has the digest {found}, not {self._wanted.digest}")
        return bytes(self._data)
