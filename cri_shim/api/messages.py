"""Small readings of request messages that several calls share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.lifecycle import ContainerState

T = TypeVar("T")

STATES: Mapping[int, ContainerState] = {
    cri.CONTAINER_CREATED: ContainerState.CREATED,
    cri.CONTAINER_RUNNING: ContainerState.RUNNING,
    cri.CONTAINER_EXITED: ContainerState.EXITED,
}


def container_state(filter_: cri.ContainerFilter) -> ContainerState | None:
    """The state asked for; None where none is. CONTAINER_UNKNOWN is a state nothing is in."""
    if not filter_.HasField("state"):
        return None
    # CREATING matches none that is shown, where None would match every one.
    return STATES.get(filter_.state.state, ContainerState.CREATING)


def ready(filter_: cri.PodSandboxFilter) -> bool | None:
    if not filter_.HasField("state"):
        return None
    return filter_.state.state == cri.SANDBOX_READY


def required(text: str, field: str) -> str:
    """InvalidArgument where the field is empty."""
    if not text:
        raise InvalidArgument(f"{field} is empty")
    return text


def chunks(items: Sequence[T], size: int = 100) -> Iterator[Sequence[T]]:
    """The items in pieces, one message each.

    Streams exist for lists that are larger than what a client takes in one message (kubelet: 16
    MiB); a hundred entries are far below that.
    """
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
