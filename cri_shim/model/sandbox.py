"""A pod sandbox as asked for, and as it is."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.ids import SandboxId, check_path, check_text
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.resources import EMPTY, LinuxResources
from cri_shim.model.security import PodSecurity

# sethostname(2) takes 64 bytes. DNS would allow a label 63, but a whole name may be set here too.
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?\Z")
_SYSCTL = re.compile(r"[a-z0-9_]+([./][a-zA-Z0-9_*-]+)+\Z")


@dataclass(frozen=True, slots=True)
class SandboxMetadata:
    """Together these four are the sandbox's unique name."""

    name: str
    uid: str
    namespace: str
    attempt: int

    @property
    def unique(self) -> str:
        # Named as in containerd. In Kubernetes none of the four can have an underscore, so no two
        # pods have one name.
        return f"{self.name}_{self.namespace}_{self.uid}_{self.attempt}"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def from_cri(cls, message: cri.PodSandboxMetadata) -> "SandboxMetadata":
        if not message.name:
            raise InvalidArgument("config.metadata.name is empty: name the pod")
        return cls(message.name, message.uid, message.namespace, message.attempt)


class Protocol(Enum):
    TCP = 0
    UDP = 1
    SCTP = 2


@dataclass(frozen=True, slots=True)
class PortMapping:
    """`host_port` 0 means: no mapping on the host. `host_ip` empty means: every address."""

    protocol: Protocol
    container_port: int
    host_port: int
    host_ip: str

    @classmethod
    def from_cri(cls, message: cri.PortMapping, where: str) -> "PortMapping":
        try:
            protocol = Protocol(message.protocol)
        except ValueError:
            raise InvalidArgument(
                f"{where}.protocol {message.protocol} is not TCP, UDP or SCTP"
            ) from None
        if not 1 <= message.container_port <= 65535:
            raise InvalidArgument(
                f"{where}.container_port {message.container_port} is not in 1 to 65535"
            )
        if not 0 <= message.host_port <= 65535:
            raise InvalidArgument(f"{where}.host_port {message.host_port} is not in 0 to 65535")
        if message.host_ip:
            try:
                ipaddress.ip_address(message.host_ip)
            except ValueError:
                raise InvalidArgument(
                    f"{where}.host_ip {message.host_ip!r} is not an IPv4 or IPv6 address"
                ) from None
        return cls(protocol, message.container_port, message.host_port, message.host_ip)


@dataclass(frozen=True, slots=True)
class DnsConfig:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @classmethod
    def from_cri(cls, message: cri.DNSConfig) -> "DnsConfig":
        config = cls(tuple(message.servers), tuple(message.searches), tuple(message.options))
        for name, words in (
            ("servers", config.servers),
            ("searches", config.searches),
            ("options", config.options),
        ):
            for word in words:
                # Lines of resolv.conf are made of these: a line break would add a line.
                if not word or any(c.isspace() or c == "\0" for c in word):
                    raise InvalidArgument(f"config.dns_config.{name} has {word!r}: one word each")
        return config

    def render(self) -> str:
        """The text of resolv.conf."""
        lines = []
        if self.searches:
            lines.append("search " + " ".join(self.searches))
        lines += [f"nameserver {server}" for server in self.servers]
        if self.options:
            lines.append("options " + " ".join(self.options))
        return "".join(line + "\n" for line in lines)


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What RunPodSandbox asks for. `dns` None means: the host's resolv.conf."""

    metadata: SandboxMetadata
    hostname: str = ""
    log_directory: str = ""
    dns: DnsConfig | None = None
    ports: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    cgroup_parent: str = ""
    sysctls: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    resources: LinuxResources = LinuxResources()
    overhead: LinuxResources = LinuxResources()
    security: PodSecurity = PodSecurity()
    handler: str = ""

    @classmethod
    def from_cri(cls, config: cri.PodSandboxConfig, handler: str) -> "SandboxSpec":
        """Check every field; InvalidArgument names the first that is wrong."""
        if config.HasField("windows"):
            raise InvalidArgument("config.windows is set: this node runs Linux containers")
        if config.hostname and not _HOSTNAME.match(config.hostname):
            raise InvalidArgument(
                f"config.hostname {config.hostname!r} is not a host name (1 to 64 of a-z 0-9 . -)"
            )
        if config.log_directory and not config.log_directory.startswith("/"):
            raise InvalidArgument(
                f"config.log_directory {config.log_directory!r} is not an absolute path"
            )
        linux = config.linux
        return cls(
            metadata=SandboxMetadata.from_cri(config.metadata),
            hostname=config.hostname,
            log_directory=check_path(config.log_directory, "config.log_directory"),
            dns=DnsConfig.from_cri(config.dns_config) if config.HasField("dns_config") else None,
            ports=tuple(
                PortMapping.from_cri(port, f"config.port_mappings[{i}]")
                for i, port in enumerate(config.port_mappings)
            ),
            labels=MappingProxyType(dict(config.labels)),
            annotations=MappingProxyType(dict(config.annotations)),
            cgroup_parent=_cgroup_parent(linux.cgroup_parent),
            sysctls=_sysctls(linux.sysctls),
            resources=LinuxResources.from_cri(linux.resources, "config.linux.resources"),
            overhead=LinuxResources.from_cri(linux.overhead, "config.linux.overhead"),
            security=PodSecurity.from_cri(linux.security_context, "config.linux.security_context"),
            handler=handler,
        )


def _cgroup_parent(text: str) -> str:
    check_path(text, "config.linux.cgroup_parent")
    if "\n" in text:  # the kernel makes no such group: its name would break /proc/PID/cgroup
        raise InvalidArgument(f"config.linux.cgroup_parent {text!r} has a line break")
    if ".." in text.split("/"):
        raise InvalidArgument(f"config.linux.cgroup_parent {text!r} climbs with ..")
    return text


def _sysctls(sysctls: Mapping[str, str]) -> Mapping[str, str]:
    for key, value in sysctls.items():
        # Becomes a path below /proc/sys, with every dot a slash.
        if not _SYSCTL.match(key) or ".." in key:
            raise InvalidArgument(f"config.linux.sysctls key {key!r} is not a sysctl name")
        check_text(value, f"config.linux.sysctls[{key}]")
    return MappingProxyType(dict(sysctls))


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One sandbox as it is: an immutable record; a change is a new value.

    `network` is what `network.attach` returned (opaque to everyone else), kept so that teardown
    and status need nothing else after a restart. Times are Unix nanoseconds.
    """

    id: SandboxId
    spec: SandboxSpec
    state: SandboxState
    created_at: int
    handler: str
    cgroup: str = ""
    ips: tuple[str, ...] = ()
    network: Mapping[str, object] = field(default_factory=dict)
    netns: str = ""
    pid: int = 0
    pid_start: int = 0
    """Of the reaping init, where the pod shares a PID namespace; else 0."""
    cgroup_made: bool = False
    """The pod's cgroup did not exist before, so it goes with the pod."""
    admitted: bool = False
    """The node agent granted it: it is told when the pod is gone."""
    stopping_since: int = 0
    boot: str = ""
    selinux_level: str = ""
    """Of all its containers; empty on a host without SELinux."""
    config: bytes = b""
    """The CRI message as it came: Status returns parts of it unchanged."""

    @property
    def name(self) -> str:
        return str(self.spec.metadata)
