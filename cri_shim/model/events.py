"""What happens to containers and pods, as told to subscribers."""

from dataclasses import dataclass
from enum import Enum

from cri_shim.model.container import Container
from cri_shim.model.sandbox import Sandbox


class EventType(Enum):
    """Numbers of CRI's ContainerEventType."""

    CREATED = 0
    STARTED = 1
    STOPPED = 2
    DELETED = 3


@dataclass(frozen=True, slots=True)
class Event:
    """`container_id` is the sandbox id for events of the pod itself; time is Unix nanoseconds.

    `sandbox` is the pod and `containers` are its containers just after it happened: a later look
    at the records would find other states, or no pod at all.
    """

    container_id: str
    type: EventType
    at: int
    sandbox: Sandbox
    containers: tuple[Container, ...]
