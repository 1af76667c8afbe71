"""Usage to CRI messages."""

from collections.abc import Iterable, Mapping, Sequence, Set

from berth.linux.cgroups.readings import Stall, Stalls
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import Container
from cri_shim.model.ids import ContainerId
from cri_shim.model.sandbox import Sandbox
from cri_shim.stats.metrics import Sample
from cri_shim.stats.series import Descriptor
from cri_shim.stats.usage import (
    ContainerUsage,
    GroupUsage,
    Interface,
    LayerUsage,
    NetworkUsage,
    PodUsage,
    swap_available,
    u64,
)


def _value(number: int | None) -> cri.UInt64Value | None:
    return None if number is None else cri.UInt64Value(value=u64(number))


def _psi(stalls: Stalls | None) -> cri.PsiStats | None:
    if stalls is None:
        return None
    return cri.PsiStats(Full=_psi_data(stalls.full), Some=_psi_data(stalls.some))


def _psi_data(stall: Stall) -> cri.PsiData:
    return cri.PsiData(
        Total=u64(stall.total), Avg10=stall.avg10, Avg60=stall.avg60, Avg300=stall.avg300
    )


def _cpu(usage: GroupUsage, nano_cores: int | None) -> cri.CpuUsage:
    return cri.CpuUsage(
        timestamp=usage.at,
        usage_core_nano_seconds=_value(usage.cpu),
        # Absent in the first second: kubelet then computes a rate of its own, where it would pass
        # on a 0 to an autoscaler.
        usage_nano_cores=_value(nano_cores),
        psi=_psi(usage.pressure.cpu if usage.pressure else None),
    )


def _memory(usage: GroupUsage) -> cri.MemoryUsage:
    memory = usage.memory
    return cri.MemoryUsage(
        timestamp=usage.at,
        working_set_bytes=_value(memory.working_set),
        available_bytes=_value(memory.available),
        usage_bytes=_value(memory.usage),
        rss_bytes=_value(memory.rss),
        page_faults=_value(memory.faults),
        major_page_faults=_value(memory.major_faults),
        psi=_psi(usage.pressure.memory if usage.pressure else None),
    )


def _io(usage: GroupUsage) -> cri.IoUsage | None:
    # Only stall times: CRI has no field for bytes or operations of a container.
    if usage.pressure is None:
        return None
    return cri.IoUsage(timestamp=usage.at, psi=_psi(usage.pressure.io))


def _swap(usage: GroupUsage) -> cri.SwapUsage:
    return cri.SwapUsage(
        timestamp=usage.at,
        swap_available_bytes=_value(swap_available(usage.memory)),
        swap_usage_bytes=_value(usage.memory.swap),
    )


def _layer(layer: LayerUsage | None) -> cri.FilesystemUsage | None:
    if layer is None:
        return None
    return cri.FilesystemUsage(
        timestamp=layer.at,
        fs_id=cri.FilesystemIdentifier(mountpoint=layer.mountpoint),
        used_bytes=_value(layer.used),
        inodes_used=_value(layer.inodes),
    )


def container_stats(container: Container, usage: ContainerUsage | None) -> cri.ContainerStats:
    """`usage` None (it does not run): its attributes alone."""
    stats = cri.ContainerStats() if usage is None else _numbers(usage)
    stats.attributes.CopyFrom(_attributes(container))
    return stats


def _attributes(container: Container) -> cri.ContainerAttributes:
    return cri.ContainerAttributes(
        id=container.id,
        metadata=cri.ContainerMetadata(name=container.spec.name, attempt=container.spec.attempt),
        labels=container.spec.labels,
        annotations=container.spec.annotations,
    )


def _numbers(usage: ContainerUsage) -> cri.ContainerStats:
    return cri.ContainerStats(
        cpu=_cpu(usage.group, usage.nano_cores),
        memory=_memory(usage.group),
        writable_layer=_layer(usage.layer),
        swap=_swap(usage.group),
        io=_io(usage.group),
    )


class Entries:
    """Encoded entries of ListContainerStats. What never changes of a container is encoded once."""

    def __init__(self) -> None:
        self._known: dict[ContainerId, bytes] = {}

    def encode(self, used: Iterable[tuple[Container, ContainerUsage]]) -> list[bytes]:
        """Their concatenation, whole or in pieces, is an encoded response: field 1, repeated."""
        return [self._entry(container, usage) for container, usage in used]

    def prune(self, alive: Set[ContainerId]) -> None:
        """Drop what is kept of containers that are gone, once it is much."""
        if len(self._known) > len(alive) + 64:
            self._known = {id_: data for id_, data in self._known.items() if id_ in alive}

    def _entry(self, container: Container, usage: ContainerUsage) -> bytes:
        # Labels and annotations are most of an entry, and a container's do not change.
        attributes = self._known.get(container.id)
        if attributes is None:
            message = cri.ContainerStats(attributes=_attributes(container))
            attributes = self._known[container.id] = message.SerializeToString()
        # Encodings of a message's parts, one after another, are an encoding of the message.
        data = attributes + _numbers(usage).SerializeToString()
        return b"\x0a" + _varint(len(data)) + data  # field 1, wire type 2: length-delimited


# Encoding by hand, in three lines, what protobuf would only encode as a part of its message.
def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def sandbox_stats(
    sandbox: Sandbox, usage: PodUsage, containers: Sequence[tuple[Container, ContainerUsage]]
) -> cri.PodSandboxStats:
    meta = sandbox.spec.metadata
    return cri.PodSandboxStats(
        attributes=cri.PodSandboxAttributes(
            id=sandbox.id,
            metadata=cri.PodSandboxMetadata(
                name=meta.name, uid=meta.uid, namespace=meta.namespace, attempt=meta.attempt
            ),
            labels=sandbox.spec.labels,
            annotations=sandbox.spec.annotations,
        ),
        linux=cri.LinuxPodSandboxStats(
            cpu=_cpu(usage.group, usage.nano_cores),
            memory=_memory(usage.group),
            network=_network(usage.network),
            process=cri.ProcessUsage(
                timestamp=usage.group.at, process_count=_value(usage.processes)
            ),
            containers=[container_stats(c, u) for c, u in containers],
            io=_io(usage.group),
        ),
    )


def sandbox_stats_entry(
    sandbox: Sandbox, usage: PodUsage, containers: Sequence[tuple[Container, ContainerUsage]]
) -> bytes:
    """One entry of ListPodSandboxStats, encoded."""
    stats = sandbox_stats(sandbox, usage, containers)
    return bytes(cri.ListPodSandboxStatsResponse(stats=[stats]).SerializeToString())


def _network(usage: NetworkUsage | None) -> cri.NetworkUsage | None:
    if usage is None:
        return None
    return cri.NetworkUsage(
        timestamp=usage.at,
        default_interface=_interface(usage.default) if usage.default else None,
        interfaces=[_interface(i) for i in usage.others],
    )


def _interface(interface: Interface) -> cri.NetworkInterfaceUsage:
    return cri.NetworkInterfaceUsage(
        name=interface.name,
        rx_bytes=_value(interface.rx_bytes),
        rx_errors=_value(interface.rx_errors),
        tx_bytes=_value(interface.tx_bytes),
        tx_errors=_value(interface.tx_errors),
    )


def descriptor(descriptor: Descriptor) -> cri.MetricDescriptor:
    return cri.MetricDescriptor(
        name=descriptor.name, help=descriptor.help, label_keys=descriptor.labels
    )


def metrics_entry(
    sandbox: Sandbox,
    containers: Iterable[ContainerId],
    samples: Mapping[str, Sequence[Sample]],
) -> bytes:
    """One entry of ListPodSandboxMetrics, encoded; `samples` by the id of pod or container."""
    pod = cri.PodSandboxMetrics(
        pod_sandbox_id=sandbox.id,
        metrics=[_metric(s) for s in samples.get(sandbox.id, ())],
        container_metrics=[
            cri.ContainerMetrics(container_id=id_, metrics=[_metric(s) for s in samples[id_]])
            for id_ in containers
        ],
    )
    return bytes(cri.ListPodSandboxMetricsResponse(pod_metrics=[pod]).SerializeToString())


def _metric(sample: Sample) -> cri.Metric:
    return cri.Metric(
        name=sample.name,
        timestamp=sample.at,
        metric_type=cri.COUNTER if sample.kind.value == 0 else cri.GAUGE,
        label_values=sample.label_values,
        value=cri.UInt64Value(value=sample.whole),
    )
