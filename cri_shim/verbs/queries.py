"""Every List and Status: read from the immutable view, never waiting for anybody.

kubelet lists all pods every second, and marks the node not ready where that takes too long (PLEG):
so a list takes no lock, and one stuck container is never waited for.
"""

from collections.abc import Mapping
from typing import TypeVar

from berth.base.errors import NotFound
from cri_shim.model.container import Container
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.store.view import View, shown_container, shown_sandbox

T = TypeVar("T")


def sandbox(view: View, id_: str) -> Sandbox:
    """The pod that clients may see; NotFound."""
    found = view.sandbox(id_)
    if not shown_sandbox(found):
        raise NotFound(f"pod sandbox {id_!r} not found")
    return found


def container(view: View, id_: str) -> Container:
    """The container that clients may see; NotFound."""
    found = view.container(id_)
    if not shown_container(found):
        raise NotFound(f"container {id_!r} not found")
    return found


def sandboxes(
    view: View, id_: str = "", ready: bool | None = None, labels: Mapping[str, str] | None = None
) -> list[Sandbox]:
    """Pods that pass every filter given."""
    return [
        s
        for s in view.sandboxes.values()
        if shown_sandbox(s)
        and (not id_ or s.id.startswith(id_))  # crictl filters by the first digits
        and (ready is None or ready is (s.state is SandboxState.READY))
        and (not labels or has_labels(s.spec.labels, labels))
    ]


def containers(
    view: View,
    id_: str = "",
    sandbox_id: str = "",
    state: ContainerState | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[Container]:
    """Containers that pass every filter given."""
    return [
        c
        for c in view.containers.values()
        if shown_container(c)
        and (not id_ or c.id.startswith(id_))
        and (not sandbox_id or c.sandbox_id.startswith(sandbox_id))
        and (state is None or c.state is state)
        and (not labels or has_labels(c.spec.labels, labels))
    ]


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())
