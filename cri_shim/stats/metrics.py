"""Samples of containers and pods under cAdvisor's names.

CRI carries whole numbers, so its seconds are whole (`Sample.whole`); `Sample.value` keeps the
fraction for exporters that can show it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cri_shim.stats.detail import Detail
from cri_shim.stats.series import BASE, CONTAINER_SERIES, Descriptor, Kind
from cri_shim.stats.usage import Interface, NetworkUsage, u64

POD = "POD"
"""The label `container` of what belongs to a pod as a whole."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom samples are about: the values of the labels `BASE`."""

    id: str
    name: str
    image: str
    namespace: str
    pod: str
    container: str

    def labels(self) -> tuple[str, ...]:
        return (self.id, self.name, self.image, self.namespace, self.pod, self.container)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value; `at` in Unix nanoseconds, `label_values` in the order of the descriptor's."""

    name: str
    at: int
    kind: Kind
    label_values: tuple[str, ...]
    value: float

    @property
    def whole(self) -> int:
        """The value as CRI carries it: cut to a whole number of 64 bits without sign."""
        return u64(self.value)


@dataclass(frozen=True, slots=True)
class NetworkSeries:
    """A counter of each interface of a pod."""

    name: str
    help: str
    read: Callable[[Interface], int]

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.name, self.help, (*BASE, "interface"))


def _network() -> Iterator[NetworkSeries]:
    ways = (("receive", "rx", "received"), ("transmit", "tx", "sent"))
    things = (
        ("bytes", "bytes", "Bytes {}."),
        ("errors", "errors", "Errors of packets {}."),
        ("packets", "packets", "Packets {}."),
        ("packets_dropped", "dropped", "Packets dropped that were to be {}."),
    )
    for way, prefix, done in ways:
        for name, field, text in things:
            yield NetworkSeries(
                f"container_network_{way}_{name}_total",
                text.format(done),
                _field(f"{prefix}_{field}"),
            )


def _field(name: str) -> Callable[[Interface], int]:
    def read(interface: Interface) -> int:
        value: int = getattr(interface, name)
        return value

    return read


NETWORK_SERIES: tuple[NetworkSeries, ...] = tuple(_network())

# kubelet asks for these once, at its start, and drops a sample with another number of labels.
DESCRIPTORS: tuple[Descriptor, ...] = tuple(
    sorted(
        [
            *(series.descriptor for series in CONTAINER_SERIES),
            *(series.descriptor for series in NETWORK_SERIES),
        ],
        key=lambda descriptor: descriptor.name,
    )
)


def container_samples(subject: Subject, detail: Detail) -> list[Sample]:
    """All values of a container. What this host has not (huge pages, pressure) is left out."""
    base = subject.labels()
    return [
        Sample(series.name, detail.at, series.kind, base + extra, value)
        for series in CONTAINER_SERIES
        for extra, value in series.values(detail)
    ]


def pod_samples(subject: Subject, network: NetworkUsage) -> list[Sample]:
    """The traffic of a pod; `subject.container` is `POD`."""
    base = subject.labels()
    return [
        Sample(series.name, network.at, Kind.COUNTER, (*base, i.name), series.read(i))
        for series in NETWORK_SERIES
        for i in network.interfaces
    ]
