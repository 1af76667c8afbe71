"""Security context of a pod and of a container, as CRI gives it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.ids import check_path
from cri_shim.model.namespaces import NamespaceOptions


class ProfileKind(Enum):
    RUNTIME_DEFAULT = 0
    UNCONFINED = 1
    LOCALHOST = 2


class GroupsPolicy(Enum):
    MERGE = 0
    STRICT = 1


@dataclass(frozen=True, slots=True)
class Profile:
    """A seccomp or AppArmor profile; `ref` is its path or name where kind is LOCALHOST."""

    kind: ProfileKind
    ref: str = ""

    @classmethod
    def from_cri(cls, message: cri.SecurityProfile, where: str) -> "Profile":
        try:
            kind = ProfileKind(message.profile_type)
        except ValueError:
            raise InvalidArgument(
                f"{where}.profile_type {message.profile_type} is not known: "
                "use RuntimeDefault, Unconfined or Localhost"
            ) from None
        if "\0" in message.localhost_ref:
            raise InvalidArgument(f"{where}.localhost_ref has a NUL byte")
        if kind is ProfileKind.LOCALHOST and not message.localhost_ref:
            raise InvalidArgument(f"{where}.localhost_ref is empty: a Localhost profile needs it")
        return cls(kind, message.localhost_ref)

    @classmethod
    def from_deprecated(cls, text: str, where: str) -> "Profile | None":
        """The old string form: `runtime/default`, `unconfined` or `localhost/<ref>`."""
        match text:
            case "":
                return None
            case "runtime/default" | "docker/default":
                return cls(ProfileKind.RUNTIME_DEFAULT)
            case "unconfined":
                return cls(ProfileKind.UNCONFINED)
            case _ if text.startswith("localhost/") and text != "localhost/" and "\0" not in text:
                return cls(ProfileKind.LOCALHOST, text.removeprefix("localhost/"))
            case _:
                raise InvalidArgument(
                    f"{where} {text!r} is not runtime/default, unconfined or localhost/<profile>"
                )


@dataclass(frozen=True, slots=True)
class SELinuxLabel:
    user: str = ""
    role: str = ""
    type: str = ""
    level: str = ""

    @classmethod
    def from_cri(cls, message: cri.SELinuxOption) -> "SELinuxLabel":
        return cls(message.user, message.role, message.type, message.level)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Names upper-case with CAP_; `ALL` stands alone."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()

    @classmethod
    def from_cri(cls, message: cri.Capability) -> "Capabilities":
        return cls(
            tuple(_capability(c) for c in message.add_capabilities),
            tuple(_capability(c) for c in message.drop_capabilities),
            tuple(_capability(c) for c in message.add_ambient_capabilities),
        )


def _capability(name: str) -> str:
    """`net_admin`, `CAP_NET_ADMIN`, `all` and `cap_all` are all understood."""
    # Kubernetes writes NET_ADMIN, the OCI document CAP_NET_ADMIN, and users either in any case.
    bare = name.upper().removeprefix("CAP_")
    return bare if bare == "ALL" else f"CAP_{bare}"


@dataclass(frozen=True, slots=True)
class PodSecurity:
    namespaces: NamespaceOptions = NamespaceOptions()
    selinux: SELinuxLabel = SELinuxLabel()
    privileged: bool = False
    readonly_rootfs: bool = False
    seccomp: Profile | None = None

    @classmethod
    def from_cri(cls, message: cri.LinuxSandboxSecurityContext, where: str) -> "PodSecurity":
        return cls(
            namespaces=NamespaceOptions.from_cri(
                message.namespace_options, f"{where}.namespace_options"
            ),
            selinux=SELinuxLabel.from_cri(message.selinux_options),
            privileged=message.privileged,
            readonly_rootfs=message.readonly_rootfs,
            seccomp=_profile(message, "seccomp", message.seccomp_profile_path, where),
        )


@dataclass(frozen=True, slots=True)
class ContainerSecurity:
    """`run_as_user` and `run_as_username` exclude each other; None and "" mean the image's user."""

    capabilities: Capabilities = Capabilities()
    privileged: bool = False
    namespaces: NamespaceOptions = NamespaceOptions()
    selinux: SELinuxLabel = SELinuxLabel()
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_username: str = ""
    readonly_rootfs: bool = False
    supplemental_groups: tuple[int, ...] = ()
    groups_policy: GroupsPolicy = GroupsPolicy.MERGE
    no_new_privs: bool = False
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    seccomp: Profile | None = None
    apparmor: Profile | None = None

    @classmethod
    def from_cri(
        cls, message: cri.LinuxContainerSecurityContext, where: str
    ) -> "ContainerSecurity":
        user = _id(message, "run_as_user", where)
        group = _id(message, "run_as_group", where)
        # CRI: a group without a user must be an error. It would be that of whatever the image says.
        if group is not None and user is None and not message.run_as_username:
            raise InvalidArgument(
                f"{where}.run_as_group is given without run_as_user or run_as_username"
            )
        if user is not None and message.run_as_username:
            raise InvalidArgument(f"{where} has both run_as_user and run_as_username: give one")
        try:
            policy = GroupsPolicy(message.supplemental_groups_policy)
        except ValueError:
            raise InvalidArgument(
                f"{where}.supplemental_groups_policy {message.supplemental_groups_policy} "
                "is not known: use Merge or Strict"
            ) from None
        for gid in message.supplemental_groups:
            _check_id(gid, f"{where}.supplemental_groups")
        return cls(
            capabilities=Capabilities.from_cri(message.capabilities),
            privileged=message.privileged,
            namespaces=NamespaceOptions.from_cri(
                message.namespace_options, f"{where}.namespace_options"
            ),
            selinux=SELinuxLabel.from_cri(message.selinux_options),
            run_as_user=user,
            run_as_group=group,
            run_as_username=message.run_as_username,
            readonly_rootfs=message.readonly_rootfs,
            supplemental_groups=tuple(message.supplemental_groups),
            groups_policy=policy,
            no_new_privs=message.no_new_privs,
            masked_paths=_paths(message.masked_paths, f"{where}.masked_paths"),
            readonly_paths=_paths(message.readonly_paths, f"{where}.readonly_paths"),
            seccomp=_profile(message, "seccomp", message.seccomp_profile_path, where),
            apparmor=_profile(message, "apparmor", message.apparmor_profile, where),
        )


def _profile(
    message: cri.LinuxContainerSecurityContext | cri.LinuxSandboxSecurityContext,
    field: str,
    deprecated: str,
    where: str,
) -> Profile | None:
    """The new field where it is set, else the deprecated string."""
    # Older clients set the string alone, newer ones both.
    present: bool = message.HasField(field)
    if present:
        return Profile.from_cri(getattr(message, field), f"{where}.{field}")
    return Profile.from_deprecated(deprecated, f"{where}.{field} (deprecated form)")


def _paths(paths: Iterable[str], where: str) -> tuple[str, ...]:
    found = tuple(paths)
    for path in found:
        if not check_path(path, where).startswith("/"):
            raise InvalidArgument(f"{where} has {path!r}: give absolute paths")
    return found


def _id(message: cri.LinuxContainerSecurityContext, field: str, where: str) -> int | None:
    present: bool = message.HasField(field)
    if not present:
        return None
    value: int = getattr(message, field).value
    _check_id(value, f"{where}.{field}")
    return value


def _check_id(value: int, where: str) -> None:
    # 2**32 - 1 is -1 to setuid(2) and chown(2): "leave it as it is".
    if not 0 <= value < 2**32 - 1:
        raise InvalidArgument(f"{where} {value} is not an id (0 to {2**32 - 2})")
