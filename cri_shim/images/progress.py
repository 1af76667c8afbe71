"""How far a pull or a load is, for a progress bar."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from cri_shim.model.ids import Digest


class LayerState(Enum):
    """WAITING → DOWNLOADING → DOWNLOADED → UNPACKING → DONE, or PRESENT from the start."""

    WAITING = "waiting"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    UNPACKING = "unpacking"
    DONE = "done"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class LayerProgress:
    """One layer; `done` of `total` compressed bytes are here."""

    digest: Digest
    state: LayerState
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Progress:
    """The whole image, layers from the base up."""

    reference: str
    layers: tuple[LayerProgress, ...]


Listener = Callable[[Progress], None]


class Tracker:
    """Keeps the state of each layer and tells the listeners of every change."""

    def __init__(self, reference: str, listeners: list[Listener]) -> None:
        self._reference = reference
        self._listeners = listeners
        self._layers: list[LayerProgress] = []

    def begin(self, layers: list[tuple[Digest, int]]) -> None:
        """The layers are known: digest and compressed size of each."""
        self._layers = [LayerProgress(d, LayerState.WAITING, 0, size) for d, size in layers]
        self._tell()

    def move(self, index: int, state: LayerState) -> None:
        layer = self._layers[index]
        here = state not in (LayerState.WAITING, LayerState.DOWNLOADING)
        done = layer.total if here else layer.done
        self._layers[index] = replace(layer, state=state, done=done)
        self._tell()

    def count(self, index: int, done: int) -> None:
        """So many bytes of the layer are here."""
        self._layers[index] = replace(self._layers[index], state=LayerState.DOWNLOADING, done=done)
        self._tell()

    def _tell(self) -> None:
        # A copy: a listener may leave, or another join, from inside of the call.
        if self._listeners:
            progress = Progress(self._reference, tuple(self._layers))
            for listener in tuple(self._listeners):
                listener(progress)
