"""What happens to containers and pods, as told to subscribers."""

from dataclasses import dataclass
from enum import Enum

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

    `sandbox` is the pod as it was, where its record is gone by now.
    """

    container_id: str
    sandbox_id: str
    type: EventType
    at: int
    sandbox: Sandbox | None = None
