"""What containers and pods use, as plain values.

Times are Unix nanoseconds, memory and disk bytes, CPU nanoseconds; a rate is in nano-cores
(1,000,000,000 is one CPU in full use). None means: not known, or no limit.
"""

from dataclasses import dataclass

from berth.linux.cgroups.readings import Memory, Pressure

U64 = (1 << 64) - 1


def u64(value: float) -> int:
    """A count as CRI carries it: whole, and within 0 and 2**64 - 1."""
    if value != value or value <= 0:  # not a number, or negative
        return 0
    return U64 if value >= U64 else int(value)


@dataclass(frozen=True, slots=True)
class GroupUsage:
    """One look at a control group; `at` is its time."""

    at: int
    cpu: int
    memory: Memory
    pressure: Pressure | None = None


@dataclass(frozen=True, slots=True)
class LayerUsage:
    """Disk use of a container's writable layer on the filesystem at `mountpoint`."""

    at: int
    mountpoint: str
    used: int
    inodes: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """`nano_cores` is the rate over the last second or more."""

    group: GroupUsage
    nano_cores: int | None = None
    layer: LayerUsage | None = None


@dataclass(frozen=True, slots=True)
class Interface:
    """Counters of a network interface since it was made."""

    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


@dataclass(frozen=True, slots=True)
class NetworkUsage:
    """`default` is the interface with the pod's address; `others` the rest without loopback."""

    at: int
    default: Interface | None = None
    others: tuple[Interface, ...] = ()

    @property
    def interfaces(self) -> tuple[Interface, ...]:
        return self.others if self.default is None else (self.default, *self.others)


@dataclass(frozen=True, slots=True)
class PodUsage:
    """A pod: all its containers together, its network (None: the host's) and its processes."""

    group: GroupUsage
    nano_cores: int | None = None
    network: NetworkUsage | None = None
    processes: int = 0


def swap_available(memory: Memory) -> int | None:
    """Swap left under the limit; None without one."""
    return None if memory.swap_limit is None else max(0, memory.swap_limit - memory.swap)
