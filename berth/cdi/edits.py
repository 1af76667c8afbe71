"""What CDI devices change in a container, as plain values.

Source: the Container Device Interface specification, section `containerEdits`.
"""

from dataclasses import dataclass
from typing import Any

HOOKS = (
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CdiDevice:
    """A device node. Empty kind, zero numbers, None ids and mode: those of the host's node."""

    path: str
    host_path: str = ""
    kind: str = ""
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    permissions: str = ""
    uid: int | None = None
    gid: int | None = None

    @property
    def source(self) -> str:
        """The node's path on the host."""
        return self.host_path or self.path

    @property
    def complete(self) -> bool:
        """Whether the host's node need not be looked at."""
        # A FIFO has no numbers. Major 0 is no real device, so it stands for "not given".
        return self.kind == "p" or (self.kind in ("b", "c") and self.major != 0)


@dataclass(frozen=True, slots=True)
class CdiMount:
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str = ""


@dataclass(frozen=True, slots=True)
class CdiHook:
    """`name` is one of HOOKS; `timeout` in seconds."""

    name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class CdiNetDevice:
    """A network interface of the host, and its name in the container."""

    host_name: str
    name: str


@dataclass(frozen=True, slots=True)
class Edits:
    """All changes together, in the order in which they apply; `env` has `NAME=value` entries.

    `intel_rdt` says only that some device asks for Intel RDT, which this node does not give.
    """

    env: tuple[str, ...] = ()
    devices: tuple[CdiDevice, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[CdiHook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    net_devices: tuple[CdiNetDevice, ...] = ()
    intel_rdt: bool = False

    def joined(self, later: "Edits") -> "Edits":
        """These edits and then the later ones."""
        return Edits(
            env=self.env + later.env,
            devices=self.devices + later.devices,
            mounts=self.mounts + later.mounts,
            hooks=self.hooks + later.hooks,
            additional_gids=self.additional_gids + later.additional_gids,
            net_devices=self.net_devices + later.net_devices,
            intel_rdt=self.intel_rdt or later.intel_rdt,
        )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Host paths of nodes that must be looked at for their type and numbers, each once."""
        return tuple(dict.fromkeys(d.source for d in self.devices if not d.complete))

    def mounts_document(self) -> list[dict[str, Any]]:
        """The mounts in OCI form; of several at one place the last."""
        # A dictionary keeps the place of the first: the order of what is mounted inside of what
        # stays as the files have it.
        found = {
            mount.container_path: {
                "destination": mount.container_path,
                "source": mount.host_path,
                "type": mount.type,
                "options": list(mount.options),
            }
            for mount in self.mounts
        }
        return list(found.values())

    def hooks_document(self) -> dict[str, Any]:
        """The OCI `hooks` object."""
        found: dict[str, Any] = {}
        for hook in self.hooks:
            entry: dict[str, Any] = {"path": hook.path, "args": list(hook.args)}
            entry["env"] = list(hook.env)
            if hook.timeout is not None:
                entry["timeout"] = hook.timeout
            found.setdefault(hook.name, []).append(
                {key: value for key, value in entry.items() if value != []}
            )
        return found
