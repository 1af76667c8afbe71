"""Counters of a pod's links, from one file read inside its namespace."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from cri_shim.network.threads import inside

_LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class LinkCounters:
    """As the pod sees them, since the link was made: bytes, packets, errors, drops."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


async def read(netns: str | None) -> tuple[LinkCounters, ...]:
    """Every link but `lo`, in the kernel's order; OSError when the namespace is gone."""
    return await asyncio.to_thread(inside, netns, read_here)


def read_here() -> tuple[LinkCounters, ...]:
    """Of the calling thread's namespace; blocks for tens of microseconds."""
    return parse(Path("/proc/thread-self/net/dev").read_text())


def parse(text: str) -> tuple[LinkCounters, ...]:
    """The text of /proc/net/dev: two lines of headings, then receive and transmit counters."""
    rows = (line.rpartition(":") for line in text.splitlines()[2:])
    return tuple(
        _counters(name.strip(), [int(word) for word in numbers.split()])
        for name, _, numbers in rows
        if name.strip() != _LOOPBACK
    )


def _counters(name: str, numbers: list[int]) -> LinkCounters:
    return LinkCounters(name, *numbers[0:4], *numbers[8:12])
