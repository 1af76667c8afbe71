"""Which pod publishes which port of the host: one pod for each port, address and protocol."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from berth.base.errors import InvalidArgument, ResourceExhausted
from berth.linux.netlink import Address
from cri_shim.model.sandbox import PortMapping, Protocol

_EVERY = {"", "0.0.0.0", "::"}


@dataclass(frozen=True, slots=True)
class HostPort:
    """`host` None: every address of the host that is of one of the IP `versions`."""

    protocol: Protocol
    port: int
    target: int
    host: Address | None
    versions: frozenset[int]

    @classmethod
    def of(cls, mapping: PortMapping) -> "HostPort":
        """InvalidArgument for a host_ip or a port that is none."""
        for name, value in (
            ("host_port", mapping.host_port),
            ("container_port", mapping.container_port),
        ):
            if not 1 <= value <= 65535:
                raise InvalidArgument(f"port_mappings: {name} {value} is not in 1 to 65535")
        host = _address(mapping.host_ip)
        versions = frozenset({4, 6} if host is None else {host.version})
        # "" is every address of both families, "0.0.0.0" and "::" every address of one.
        if mapping.host_ip in _EVERY:
            host = None
        return cls(mapping.protocol, mapping.host_port, mapping.container_port, host, versions)

    def meets(self, other: "HostPort") -> bool:
        """Whether a packet could be meant for both."""
        if (self.protocol, self.port) != (other.protocol, other.port):
            return False
        same_host = self.host is None or other.host is None or self.host == other.host
        return same_host and bool(self.versions & other.versions)

    def document(self) -> dict[str, Any]:
        return {
            "protocol": self.protocol.name,
            "port": self.port,
            "target": self.target,
            "host": None if self.host is None else str(self.host),
            "versions": sorted(self.versions),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "HostPort":
        host = document["host"]
        return cls(
            Protocol[document["protocol"]],
            document["port"],
            document["target"],
            None if host is None else ipaddress.ip_address(host),
            frozenset(document["versions"]),
        )

    def __str__(self) -> str:
        where = "" if self.host is None else f" on {self.host}"
        return f"{self.protocol.name} {self.port}{where}"


@dataclass(frozen=True, slots=True)
class _Claim:
    sandbox: str
    pod: str
    ports: tuple[HostPort, ...]


class Claims:
    """Claims by sandbox; rebuilt at start from the records of the pods."""

    def __init__(self) -> None:
        self._claims: dict[str, _Claim] = {}
        self._by_port: dict[tuple[Protocol, int], list[tuple[HostPort, _Claim]]] = {}

    def take(self, sandbox: str, pod: str, mappings: Iterable[PortMapping]) -> tuple[HostPort, ...]:
        """All ports or none; ResourceExhausted names the pod that has one of them."""
        ports = tuple(HostPort.of(mapping) for mapping in mappings)
        for i, port in enumerate(ports):
            if any(port.meets(other) for other in ports[:i]):
                raise InvalidArgument(f"pod {pod} asks twice for host port {port}")
            self._refuse_taken(port, sandbox, pod)
        self.put(sandbox, pod, ports)
        return ports

    def put(self, sandbox: str, pod: str, ports: tuple[HostPort, ...]) -> None:
        """Enter the claim of a record, without looking whether another pod has the port."""
        self.drop(sandbox)
        if not ports:
            return
        claim = self._claims[sandbox] = _Claim(sandbox, pod, ports)
        # By protocol and port, so that a node with many pods compares a new port with a few claims.
        for port in ports:
            self._by_port.setdefault((port.protocol, port.port), []).append((port, claim))

    def drop(self, sandbox: str) -> None:
        claim = self._claims.pop(sandbox, None)
        for port in claim.ports if claim else ():
            key = (port.protocol, port.port)
            left = [entry for entry in self._by_port[key] if entry[1] is not claim]
            if left:
                self._by_port[key] = left
            else:
                del self._by_port[key]

    def _refuse_taken(self, port: HostPort, sandbox: str, pod: str) -> None:
        for other, claim in self._by_port.get((port.protocol, port.port), ()):
            if claim.sandbox != sandbox and port.meets(other):
                raise ResourceExhausted(
                    f"pod {pod} asks for host port {port}, which pod {claim.pod} (sandbox "
                    f"{claim.sandbox[:13]}) has: remove that pod or choose another port"
                )


def _address(host_ip: str) -> Address | None:
    if not host_ip:
        return None
    try:
        return ipaddress.ip_address(host_ip)
    except ValueError:
        raise InvalidArgument(
            f"port_mappings: host_ip {host_ip!r} is not an IPv4 or IPv6 address"
        ) from None
