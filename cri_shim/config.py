"""The shim's configuration keys, with their types and defaults (cri-shim.toml)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from berth.base import configuration
from berth.base.configuration import Key

DEFAULT_FILE = Path("/etc/berth/cri-shim.toml")


@dataclass(frozen=True)
class HandlerConfig:
    """One OCI runtime; `binary` "" means: found in PATH by its type."""

    type: Literal["auto", "crun", "runc"] = "auto"
    binary: str = ""


@dataclass(frozen=True)
class RuntimeConfig:
    """`default` names the handler for requests that name none.

    The handler `default` exists even where `handlers` does not list it: type auto, which is crun
    where it works on this host, else runc. `create_timeout` is for the OCI runtime to make a
    container, `mount_timeout` for the filesystem of a volume to respond, in seconds.
    `apparmor_profile` is what RuntimeDefault means on hosts with AppArmor: a profile that is
    loaded, or none. `cdi_dirs` are directories of CDI specifications, the more important one later.
    """

    default: str = "default"
    handlers: Mapping[str, HandlerConfig] = field(default_factory=dict)
    create_timeout: float = 240.0
    mount_timeout: float = 10.0
    apparmor_profile: str = ""
    cdi_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")


@dataclass(frozen=True)
class NetworkConfig:
    """`mode` auto: CNI where `conf_dir` has a network, else the native bridge, for each new pod.

    `conf_dir` and `bin_dirs` are CNI's; `plugin_timeout` is for one command of one plugin, in
    seconds. `bridge`, `subnet` (at most one IPv4 and one IPv6) and `mtu` (0: that of the default
    route's link) are the native bridge's.
    """

    mode: Literal["auto", "cni", "bridge", "none"] = "auto"
    conf_dir: str = "/etc/cni/net.d"
    bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    bridge: str = "berth0"
    subnet: tuple[str, ...] = ("10.208.0.0/16",)
    mtu: int = 0
    plugin_timeout: float = 60.0


@dataclass(frozen=True)
class ImagesConfig:
    """`certs_dir` has a directory of certificates for each registry, as docker has it.

    `insecure_registries` may speak plain HTTP; loopback addresses always may. `mirrors` has URLs by
    registry, which are asked first, in order.
    """

    max_concurrent_downloads: int = 3
    certs_dir: str = "/etc/berth/certs.d"
    insecure_registries: tuple[str, ...] = ()
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StreamingConfig:
    """Where exec, attach and port-forward are served; with TLS if both files are given.

    Port 0 lets the kernel choose: the URL that kubelet gets has the real one.
    """

    listen: str = "127.0.0.1:0"
    tls_cert: str = ""
    tls_key: str = ""


@dataclass(frozen=True)
class AdmissionConfig:
    """Whether pods are admitted by the agent; `optional` goes on without it while it is away."""

    socket: str = "/run/berth/node.sock"
    mode: Literal["off", "optional", "required"] = "off"


@dataclass(frozen=True)
class Config:
    """`root` outlives a reboot (records, images), `state` does not. `listen` is kubelet's socket.

    `cgroup_driver` must be kubelet's; auto is systemd where that is init.
    """

    root: str = "/var/lib/berth/cri"
    state: str = "/run/berth/cri"
    listen: str = "/run/berth/cri.sock"
    cgroup_driver: Literal["auto", "cgroupfs", "systemd"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    images: ImagesConfig = field(default_factory=ImagesConfig)
    streaming: StreamingConfig = field(default_factory=StreamingConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)


def load(file: Path | None, assignments: Sequence[str] = ()) -> Config:
    """The configuration from `file` (default: the system's), its drop-ins and `--set`.

    Raises InvalidArgument naming the source and the key.
    """
    return configuration.load(Config, file, DEFAULT_FILE, assignments, _check)


def _check(config: Config, source: str) -> None:
    known = {"default", *config.runtime.handlers}
    if config.runtime.default not in known:
        key = Key(source, "runtime.default")
        raise key.refused(config.runtime.default, "one of " + ", ".join(sorted(known)))
