"""The life of a sandbox and of a container, as tables.

Sandbox:    CREATING ──▶ READY ──▶ STOPPING ──▶ NOTREADY ──▶ REMOVING ──▶ (gone)
               └──▶ REMOVING (undo of a failed create)

Container:  CREATING ──▶ CREATED ──▶ RUNNING ──▶ EXITED ──▶ REMOVING ──▶ (gone)
               │            └──────────────────────▲ (start failed, or stopped before its start)
               └──▶ REMOVING (undo of a failed create)

CREATING and REMOVING are intents: they survive `kill -9`, and recovery finishes them. Neither is
shown to clients. In CRI's terms READY alone is SANDBOX_READY; STOPPING, which a client can see
while its pod is taken apart, reads as SANDBOX_NOTREADY.

No arrow leads back: kubelet makes the next attempt at a pod or container under a new id.
"""

from enum import Enum

from berth.base.errors import FailedPrecondition


class SandboxState(Enum):
    CREATING = "creating"
    READY = "ready"
    STOPPING = "stopping"
    NOTREADY = "notready"
    REMOVING = "removing"


class ContainerState(Enum):
    CREATING = "creating"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    REMOVING = "removing"


# A pod of another boot is stopped like any other, though nothing of it runs: its addresses and its
# grant are still taken.
SANDBOX_MOVES: dict[SandboxState, frozenset[SandboxState]] = {
    SandboxState.CREATING: frozenset({SandboxState.READY, SandboxState.REMOVING}),
    SandboxState.READY: frozenset({SandboxState.STOPPING}),
    SandboxState.STOPPING: frozenset({SandboxState.NOTREADY}),
    SandboxState.NOTREADY: frozenset({SandboxState.REMOVING}),
    SandboxState.REMOVING: frozenset(),
}

CONTAINER_MOVES: dict[ContainerState, frozenset[ContainerState]] = {
    ContainerState.CREATING: frozenset({ContainerState.CREATED, ContainerState.REMOVING}),
    # Removal stops a created container first: its process exists and waits for the start, so there
    # is an exit to record before it goes.
    ContainerState.CREATED: frozenset({ContainerState.RUNNING, ContainerState.EXITED}),
    ContainerState.RUNNING: frozenset({ContainerState.EXITED}),
    ContainerState.EXITED: frozenset({ContainerState.REMOVING}),
    ContainerState.REMOVING: frozenset(),
}


def check_sandbox_move(now: SandboxState, then: SandboxState, name: str) -> None:
    """Raise FailedPrecondition naming the pod if the table has no such arrow."""
    if then not in SANDBOX_MOVES[now]:
        raise FailedPrecondition(f"pod {name} is {now.value}: it cannot become {then.value}")


def check_container_move(now: ContainerState, then: ContainerState, name: str) -> None:
    """Raise FailedPrecondition naming the container if the table has no such arrow."""
    if then not in CONTAINER_MOVES[now]:
        raise FailedPrecondition(f"container {name} is {now.value}: it cannot become {then.value}")
