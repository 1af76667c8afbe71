"""What readers see: an immutable picture of all sandboxes and containers at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from berth.base.errors import InvalidArgument, NotFound
from cri_shim.model.container import Container
from cri_shim.model.ids import ContainerId, SandboxId
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox

_NO_CONTAINERS: Mapping[ContainerId, Container] = {}


@dataclass(frozen=True, slots=True)
class View:
    """Never changed once made; a write makes a new one. Reading needs no lock and no await."""

    sandboxes: Mapping[SandboxId, Sandbox] = field(default_factory=dict)
    containers: Mapping[ContainerId, Container] = field(default_factory=dict)
    by_sandbox: Mapping[SandboxId, Mapping[ContainerId, Container]] = field(default_factory=dict)

    def containers_of(self, sandbox_id: SandboxId) -> Mapping[ContainerId, Container]:
        return self.by_sandbox.get(sandbox_id, _NO_CONTAINERS)

    def sandbox(self, id_or_prefix: str) -> Sandbox:
        """The sandbox with this id or unique beginning of one; NotFound, or InvalidArgument."""
        return self.sandboxes[SandboxId(_resolve("pod sandbox", id_or_prefix, self.sandboxes))]

    def container(self, id_or_prefix: str) -> Container:
        """The container with this id or unique beginning of one; NotFound, or InvalidArgument."""
        return self.containers[ContainerId(_resolve("container", id_or_prefix, self.containers))]


def _resolve(
    kind: str, prefix: str, ids: Mapping[SandboxId, object] | Mapping[ContainerId, object]
) -> str:
    if prefix in ids:
        return prefix
    # crictl shows the first 13 digits and users type fewer; kubelet always gives all 64, which the
    # look-up above finds without this walk.
    found = [id_ for id_ in ids if prefix and id_.startswith(prefix)]
    if len(found) > 1:
        raise InvalidArgument(f"{kind} id {prefix!r} is the beginning of {len(found)} ids")
    if not found:
        raise NotFound(f"{kind} {prefix!r} not found")
    return found[0]


def shown_sandbox(sandbox: Sandbox) -> bool:
    """Intents are not shown to clients."""
    return sandbox.state not in (SandboxState.CREATING, SandboxState.REMOVING)


def shown_container(container: Container) -> bool:
    """Intents are not shown to clients."""
    return container.state not in (ContainerState.CREATING, ContainerState.REMOVING)
