"""Which namespaces a pod and its containers use."""

from dataclasses import dataclass, field
from enum import Enum

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri


class NamespaceMode(Enum):
    POD = 0
    CONTAINER = 1
    NODE = 2
    TARGET = 3


@dataclass(frozen=True, slots=True)
class IdMapping:
    """`length` ids from `container_id` inside are `host_id` and up outside."""

    container_id: int
    host_id: int
    length: int


@dataclass(frozen=True, slots=True)
class UserNamespace:
    """The pod's own user namespace: one mapping of uids and one of gids, id 0 included."""

    uids: tuple[IdMapping, ...]
    gids: tuple[IdMapping, ...]

    @classmethod
    def from_cri(cls, message: cri.UserNamespace, where: str) -> "UserNamespace | None":
        """None for NODE (the host's); InvalidArgument for what no runtime can give."""
        mode = _mode(message.mode, f"{where}.mode")
        uids = tuple(mapping_from_cri(m, f"{where}.uids") for m in message.uids)
        gids = tuple(mapping_from_cri(m, f"{where}.gids") for m in message.gids)
        if mode is NamespaceMode.NODE:
            if uids or gids:
                raise InvalidArgument(f"{where}: mode NODE takes no mappings")
            return None
        if mode is not NamespaceMode.POD:
            raise InvalidArgument(f"{where}.mode {mode.name} is not supported: use POD or NODE")
        for name, mappings in (("uids", uids), ("gids", gids)):
            # The kernel takes 340 (user_namespaces(7)); kubelet gives exactly one (KEP-127).
            if len(mappings) != 1:
                raise InvalidArgument(f"{where}.{name} has {len(mappings)} mappings: give one")
            if mappings[0].container_id != 0:
                raise InvalidArgument(f"{where}.{name} must map container id 0")
        return cls(uids, gids)


@dataclass(frozen=True, slots=True)
class NamespaceOptions:
    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.POD
    ipc: NamespaceMode = NamespaceMode.POD
    target_id: str = ""
    user: UserNamespace | None = field(default=None)

    @classmethod
    def from_cri(cls, message: cri.NamespaceOption, where: str) -> "NamespaceOptions":
        network = _mode(message.network, f"{where}.network")
        ipc = _mode(message.ipc, f"{where}.ipc")
        # CONTAINER and TARGET exist for PID alone: addresses are a pod's.
        for name, mode in (("network", network), ("ipc", ipc)):
            if mode not in (NamespaceMode.POD, NamespaceMode.NODE):
                raise InvalidArgument(f"{where}.{name} is {mode.name}: use POD or NODE")
        user = None
        if message.HasField("userns_options"):
            user = UserNamespace.from_cri(message.userns_options, f"{where}.userns_options")
        pid = _mode(message.pid, f"{where}.pid")
        return cls(network, pid, ipc, message.target_id, user)


def _mode(value: int, where: str) -> NamespaceMode:
    try:
        return NamespaceMode(value)
    except ValueError:
        raise InvalidArgument(f"{where} {value} is not a namespace mode (0 to 3)") from None


def mapping_from_cri(message: cri.IDMapping, where: str) -> IdMapping:
    """InvalidArgument for a mapping of nothing, or of ids that do not exist."""
    if message.length == 0:
        raise InvalidArgument(f"{where} has a mapping of length 0")
    if max(message.container_id, message.host_id) + message.length > 2**32:
        raise InvalidArgument(f"{where} has a mapping beyond the 32-bit ids")
    return IdMapping(message.container_id, message.host_id, message.length)
