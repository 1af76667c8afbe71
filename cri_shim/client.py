"""Calls of the command line to the daemon, and progress for people."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from berth.pb import runtime_v1_pb2 as cri
from berth.pb import runtime_v1_pb2_grpc as cri_grpc
from berth.pb import shim_v1_pb2 as shim
from berth.pb import shim_v1_pb2_grpc as shim_grpc

Row = tuple[str, ...]


@dataclass(frozen=True)
class Stubs:
    runtime: cri_grpc.RuntimeServiceStub
    images: cri_grpc.ImageServiceStub
    shim: shim_grpc.ShimStub


@contextlib.contextmanager
def connect(socket: str) -> Iterator[Stubs]:
    """The daemon's services on its socket; errors of their calls are grpc.RpcError."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        yield Stubs(
            cri_grpc.RuntimeServiceStub(channel),
            cri_grpc.ImageServiceStub(channel),
            shim_grpc.ShimStub(channel),
        )


def process_rows(stubs: Stubs) -> list[Row]:
    """One row a container; a pod without one has a row of its own."""
    pods = stubs.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items
    containers = stubs.runtime.ListContainers(cri.ListContainersRequest()).containers
    rows: list[Row] = []
    for pod in sorted(pods, key=lambda p: (p.metadata.namespace, p.metadata.name)):
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        state = cri.PodSandboxState.Name(pod.state).removeprefix("SANDBOX_").lower()
        mine = [c for c in containers if c.pod_sandbox_id == pod.id]
        rows += [(name, state, *_container_row(c)) for c in mine] or [
            (name, state, "-", "-", pod.id[:13], "-")
        ]
    return rows


def _container_row(container: cri.Container) -> Row:
    state = cri.ContainerState.Name(container.state).removeprefix("CONTAINER_").lower()
    return (container.metadata.name, state, container.id[:13], container.image.image)


def image_rows(stubs: Stubs) -> list[Row]:
    """One row a name of an image."""
    images = stubs.images.ListImages(cri.ListImagesRequest()).images
    return sorted(
        (name, image.id.removeprefix("sha256:")[:13], size_text(image.size))
        for image in images
        for name in image.repo_tags or image.repo_digests or ["<none>"]
    )


def container_spec(stubs: Stubs, id_: str) -> str:
    """The OCI document of a container, as JSON."""
    response = stubs.shim.ContainerSpec(shim.ContainerSpecRequest(container_id=id_))
    return response.document.decode("utf-8", "surrogateescape")


def load_image(stubs: Stubs, path: Path, name: str) -> Iterable[shim.ImageProgress]:
    # The daemon opens the path, and its working directory is another one.
    return stubs.shim.LoadImage(shim.LoadImageRequest(path=str(path.absolute()), name=name))


def pull_image(stubs: Stubs, reference: str) -> Iterable[shim.ImageProgress]:
    return stubs.shim.PullImage(shim.PullImageRequest(reference=reference))


def save_image(stubs: Stubs, reference: str, path: Path) -> None:
    stubs.shim.SaveImage(shim.SaveImageRequest(reference=reference, path=str(path.absolute())))


def remove_image(stubs: Stubs, reference: str) -> None:
    stubs.images.RemoveImage(cri.RemoveImageRequest(image=cri.ImageSpec(image=reference)))


def size_text(size: float) -> str:
    """Bytes for people: `4.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def show_progress(messages: Iterable[shim.ImageProgress]) -> None:
    """Bars on a terminal, a line for each change of a layer elsewhere; names at the end."""
    show = _Bars() if sys.stderr.isatty() else _Lines()
    for message in messages:
        if message.images:
            show.end()
            for image in message.images:
                print(f"{', '.join(image.names) or '<no name>'}  {image.id}")
        else:
            show.update(message.layers)


class _Lines:
    """Plain lines, for log files."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}

    def update(self, layers: Sequence[shim.LayerProgress]) -> None:
        for layer in layers:
            if self._states.get(layer.digest) != layer.state:
                self._states[layer.digest] = layer.state
                size = size_text(layer.total)
                print(f"{layer.digest[7:19]}: {layer.state} ({size})", file=sys.stderr)

    def end(self) -> None:
        return


class _Bars:
    """One bar a layer, redrawn in place."""

    WIDTH = 30

    def __init__(self) -> None:
        self._drawn = 0

    def update(self, layers: Sequence[shim.LayerProgress]) -> None:
        # Up by as many lines as were drawn, then each line is erased and written anew (ECMA-48).
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}A")
        for layer in layers:
            sys.stderr.write(f"\x1b[2K{self._bar(layer)}\n")
        self._drawn = len(layers)
        sys.stderr.flush()

    def _bar(self, layer: shim.LayerProgress) -> str:
        share = layer.done / layer.total if layer.total else 1.0
        full = round(share * self.WIDTH)
        bar = "█" * full + "·" * (self.WIDTH - full)
        amount = f"{size_text(layer.done)} / {size_text(layer.total)}"
        return f"{layer.digest[7:19]} {bar} {amount:>21} {layer.state}"

    def end(self) -> None:
        self._drawn = 0
