"""What happens to containers and pods, as told to subscribers."""

from dataclasses import dataclass
from enum import Enum


class EventType(Enum):
    CREATED = 0
    STARTED = 1
    STOPPED = 2
    DELETED = 3


@dataclass(frozen=True, slots=True)
class Event:
    """`container_id` is the sandbox id for events of the pod itself; time is Unix nanoseconds."""

    container_id: str
    sandbox_id: str
    type: EventType
    at: int
