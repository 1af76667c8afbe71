"""A container as asked for, and as it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.ids import ContainerId, ImageId, SandboxId, check_path, check_text
from cri_shim.model.lifecycle import ContainerState
from cri_shim.model.namespaces import IdMapping, mapping_from_cri
from cri_shim.model.resources import EMPTY, LinuxResources
from cri_shim.model.security import ContainerSecurity


class Propagation(Enum):
    PRIVATE = 0
    HOST_TO_CONTAINER = 1
    BIDIRECTIONAL = 2


MOUNT_OPTIONS = frozenset({"nosuid", "nodev", "noexec"})


@dataclass(frozen=True, slots=True)
class MountSpec:
    """A bind of a host path, or of an image (`image` set, `host_path` empty)."""

    container_path: str
    host_path: str = ""
    readonly: bool = False
    relabel: bool = False
    propagation: Propagation = Propagation.PRIVATE
    uids: tuple[IdMapping, ...] = ()
    gids: tuple[IdMapping, ...] = ()
    recursive_readonly: bool = False
    image: str = ""
    image_sub_path: str = ""
    options: tuple[str, ...] = ()

    @classmethod
    def from_cri(cls, message: cri.Mount, where: str) -> "MountSpec":
        if not message.container_path:
            raise InvalidArgument(f"{where}.container_path is empty")
        try:
            propagation = Propagation(message.propagation)
        except ValueError:
            raise InvalidArgument(
                f"{where}.propagation {message.propagation} is not known (0 to 2)"
            ) from None
        image = message.image.image if message.HasField("image") else ""
        mount = cls(
            container_path=check_path(message.container_path, f"{where}.container_path"),
            host_path=check_path(message.host_path, f"{where}.host_path"),
            readonly=message.readonly,
            relabel=message.selinux_relabel,
            propagation=propagation,
            uids=tuple(mapping_from_cri(m, f"{where}.uidMappings") for m in message.uidMappings),
            gids=tuple(mapping_from_cri(m, f"{where}.gidMappings") for m in message.gidMappings),
            recursive_readonly=message.recursive_read_only,
            image=image,
            image_sub_path=check_path(message.image_sub_path, f"{where}.image_sub_path"),
            options=tuple(message.mount_options),
        )
        mount.check(where)
        return mount

    def check(self, where: str) -> None:
        """Rules between fields (CRI, KEP-3857 recursive read-only, KEP-4639 image volumes)."""
        if self.image and self.host_path:
            raise InvalidArgument(f"{where} has both host_path and image: give one")
        if not self.image and not self.host_path:
            raise InvalidArgument(f"{where}.host_path is empty")
        # Many containers may mount one image: what one wrote would be seen by none or by all.
        if self.image and not self.readonly:
            raise InvalidArgument(f"{where}: an image volume must be readonly")
        if self.recursive_readonly and not self.readonly:
            raise InvalidArgument(f"{where}: recursive_read_only needs readonly")
        # A mount that comes in later by propagation would not be read-only.
        if self.recursive_readonly and self.propagation is not Propagation.PRIVATE:
            raise InvalidArgument(f"{where}: recursive_read_only needs PROPAGATION_PRIVATE")
        unknown = sorted(set(self.options) - MOUNT_OPTIONS)
        if unknown:
            raise InvalidArgument(
                f"{where}.mount_options {unknown} not supported: use nosuid, nodev, noexec"
            )


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    container_path: str
    host_path: str
    permissions: str

    @classmethod
    def from_cri(cls, message: cri.Device, where: str) -> "DeviceSpec":
        if not message.host_path.startswith("/"):
            raise InvalidArgument(f"{where}.host_path {message.host_path!r} is not absolute")
        permissions = message.permissions or "rwm"  # read, write, mknod, as in the devices cgroup
        if set(permissions) - set("rwm"):
            raise InvalidArgument(f"{where}.permissions {permissions!r}: use letters of rwm")
        return cls(
            check_path(message.container_path or message.host_path, f"{where}.container_path"),
            check_path(message.host_path, f"{where}.host_path"),
            permissions,
        )


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What CreateContainer asks for. `envs` are bytes: they need not be UTF-8."""

    name: str
    attempt: int
    image: str
    user_specified_image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    envs: tuple[tuple[str, bytes], ...] = ()
    mounts: tuple[MountSpec, ...] = ()
    devices: tuple[DeviceSpec, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: LinuxResources = LinuxResources()
    security: ContainerSecurity = ContainerSecurity()
    stop_signal: str = ""
    """`SIGTERM` and the like; empty where CRI gives none."""

    @classmethod
    def from_cri(cls, config: cri.ContainerConfig) -> "ContainerSpec":
        """Check every field; InvalidArgument names the first that is wrong."""
        # Every field is looked at here, before anything is made: a retry of what can never succeed
        # must cost nothing and always say the same.
        if config.HasField("windows"):
            raise InvalidArgument("config.windows is set: this node runs Linux containers")
        if not config.metadata.name:
            raise InvalidArgument("config.metadata.name is empty: name the container")
        if not config.image.image:
            raise InvalidArgument("config.image.image is empty: name an image")
        for i, word in enumerate([*config.command, *config.args]):
            check_text(word, f"config.command/args[{i}]")
        return cls(
            name=config.metadata.name,
            attempt=config.metadata.attempt,
            image=config.image.image,
            user_specified_image=config.image.user_specified_image,
            command=tuple(config.command),
            args=tuple(config.args),
            working_dir=check_path(config.working_dir, "config.working_dir"),
            envs=tuple(_env(e, i) for i, e in enumerate(config.envs)),
            mounts=tuple(
                MountSpec.from_cri(m, f"config.mounts[{i}]") for i, m in enumerate(config.mounts)
            ),
            devices=tuple(
                DeviceSpec.from_cri(d, f"config.devices[{i}]") for i, d in enumerate(config.devices)
            ),
            cdi_devices=tuple(d.name for d in config.CDI_devices),
            labels=MappingProxyType(dict(config.labels)),
            annotations=MappingProxyType(dict(config.annotations)),
            log_path=_log_path(config.log_path),
            stdin=config.stdin,
            stdin_once=config.stdin_once,
            tty=config.tty,
            resources=LinuxResources.from_cri(config.linux.resources, "config.linux.resources"),
            security=ContainerSecurity.from_cri(
                config.linux.security_context, "config.linux.security_context"
            ),
            stop_signal=_stop_signal(config.stop_signal),
        )


def _env(message: cri.KeyValue, index: int) -> tuple[str, bytes]:
    where = f"config.envs[{index}]"
    # environ(7): the first `=` ends the name, and NUL ends the string.
    if not message.key or "=" in message.key or "\0" in message.key:
        raise InvalidArgument(f"{where}.key {message.key!r} is not a variable name")
    if b"\0" in message.value:
        raise InvalidArgument(f"{where}.value of {message.key} has a NUL byte")
    return message.key, message.value


def _log_path(text: str) -> str:
    # Relative to the pod's log directory, where root writes: it must not lead out of there.
    check_path(text, "config.log_path")
    if ".." in text.split("/"):
        raise InvalidArgument(f"config.log_path {text!r} climbs with ..")
    return text


def _stop_signal(value: int) -> str:
    """CRI's enum value to a signal name; SIGRTMINPLUS3 becomes SIGRTMIN+3."""
    if value == cri.SIGNAL_RUNTIME_DEFAULT:
        return ""
    # An enum of names cannot have `+`, so the real-time signals are spelled out (KEP-4960).
    try:
        name = cri.Signal.Name(value)
    except ValueError:
        raise InvalidArgument(f"config.stop_signal {value} is not a signal of CRI") from None
    return name.removeprefix("SIGNAL_").replace("PLUS", "+").replace("MINUS", "-")


@dataclass(frozen=True, slots=True)
class ProcessUser:
    """The user the first process runs as, resolved against the image's files."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MountStatus:
    """A mount as it was made: for ContainerStatus."""

    spec: MountSpec
    image_id: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """One container as it is: an immutable record; a change is a new value.

    Times are Unix nanoseconds, 0 where it has not happened. `pid` and `pid_start` (clock ticks
    after boot, /proc/<pid>/stat field 22) name the first process beyond reuse of its number.
    """

    id: ContainerId
    sandbox_id: SandboxId
    spec: ContainerSpec
    state: ContainerState
    created_at: int
    image_id: ImageId
    image_name: str
    handler: str
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    # Numbers of processes are used again within minutes on a busy host, so each has its start time.
    pid: int = 0
    pid_start: int = 0
    conmon_pid: int = 0
    conmon_start: int = 0
    cgroup: str = ""
    log_path: str = ""
    user: ProcessUser = ProcessUser(0, 0)
    stop_signal: str = "SIGTERM"
    resources: LinuxResources = LinuxResources()
    mounts: tuple[MountStatus, ...] = ()
    image_mounts: tuple[str, ...] = ()
    """Ids of images that this container mounts as volumes: in use until it goes."""
    boot: str = ""
    stopping_since: int = 0
    oom_kills: int = 0
    """Kills for want of memory counted in its cgroup before we killed it ourselves."""
    config: bytes = b""
    """The CRI message as it came: Status returns parts of it unchanged."""

    @property
    def name(self) -> str:
        return self.spec.name
