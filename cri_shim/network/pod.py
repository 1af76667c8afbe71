"""What every kind of pod network offers, and the plain values it speaks in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from berth.base.findings import Finding
from cri_shim.model.sandbox import DnsConfig, PortMapping

INTERFACE = "eth0"
"""The pod's interface, its addresses are the pod's (CRI fixes the name)."""


@dataclass(frozen=True, slots=True)
class PodNet:
    """A pod as its network sees it. `netns` is the path of its pinned network namespace; the file
    may be gone when the pod is detached (after a reboot)."""

    sandbox_id: str
    name: str
    namespace: str
    uid: str
    netns: str
    ports: tuple[PortMapping, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    dns: DnsConfig | None = None
    hostname: str = ""

    @property
    def published(self) -> tuple[PortMapping, ...]:
        """The mappings that ask for a port of the host (host_port 0 asks for none)."""
        return tuple(port for port in self.ports if port.host_port)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Attachment:
    """`ips`: the pod's addresses, the first is the one CRI reports first. `record`: JSON-able,
    kept with the sandbox and passed to `detach`."""

    ips: tuple[str, ...]
    record: Mapping[str, object]


class RecordTable(Protocol):
    """Durable documents by key, of one kind; called from the event loop's thread only."""

    def put(self, key: str, document: dict[str, Any], durable: bool = False) -> None: ...

    def delete(self, key: str) -> None: ...

    def all(self) -> dict[str, dict[str, Any]]: ...


class PodNetwork(Protocol):
    """Gives pods addresses, names, ports and isolation.

    `attach` works on a pinned namespace with nothing in it but `lo`; when it raises, nothing of
    the pod is left. A second attach of a sandbox replaces the first. Errors: InvalidArgument for a
    field of the pod, ResourceExhausted when addresses or a host port are taken, DeadlineExceeded
    with the stage, RuntimeFailure for what the kernel or a plugin refused.
    """

    async def attach(self, pod: PodNet) -> Attachment: ...

    async def detach(self, pod: PodNet, attachment: Mapping[str, object]) -> None:
        """Take the pod off. Idempotent; works with a missing namespace and an empty record."""

    async def recover(self, known: Collection[str]) -> None:
        """After a restart: remove what belongs to no sandbox in `known`, restore the rest."""

    def ready(self) -> str | None:
        """None when pods can be attached, else why not. Cheap."""

    async def check(self) -> None:
        """Look at the host and at slow things (plugins) and put right what somebody undid; `ready`
        and `findings` report what it saw. Meant to run every few seconds."""

    async def use_pod_cidr(self, cidr: str) -> None:
        """Use the range that the cluster gave this node for its pods: one CIDR, or an IPv4 and an
        IPv6 one with a comma between. InvalidArgument when it is none; FailedPrecondition when
        pods have addresses that make it impossible. A network with ranges of its own ignores
        it."""

    async def findings(self) -> list[Finding]:
        """What is wrong with this host's network: an error where pods get none, else a warning."""

    async def close(self) -> None:
        """Finish what runs in the background. Pods keep their network."""
