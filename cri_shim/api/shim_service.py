"""berth.shim.v1.Shim: what the command line asks beyond CRI."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from berth.linux.tasks import Tasks
from berth.pb import shim_v1_pb2 as shim
from cri_shim.context import Context
from cri_shim.images.progress import Progress
from cri_shim.model.image import Image
from cri_shim.verbs import queries

Work = Callable[[Callable[[Progress], None]], Awaitable[Sequence[Image]]]


class ShimService:
    """Method names are the protocol's."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def LoadImage(self, request: shim.LoadImageRequest) -> AsyncIterator[shim.ImageProgress]:
        async def work(progress: Callable[[Progress], None]) -> Sequence[Image]:
            images = self._ctx.images
            return await images.load(Path(request.path), request.name or None, progress)

        async for message in _follow(self._ctx.tasks, work):
            yield message

    async def PullImage(self, request: shim.PullImageRequest) -> AsyncIterator[shim.ImageProgress]:
        async def work(progress: Callable[[Progress], None]) -> Sequence[Image]:
            return [await self._ctx.images.pull(request.reference, None, progress)]

        async for message in _follow(self._ctx.tasks, work):
            yield message

    async def SaveImage(self, request: shim.SaveImageRequest) -> shim.SaveImageResponse:
        await self._ctx.images.save(request.reference, Path(request.path))
        return shim.SaveImageResponse()

    async def ContainerSpec(self, request: shim.ContainerSpecRequest) -> shim.ContainerSpecResponse:
        container = queries.container(self._ctx.store.view, request.container_id)
        path = self._ctx.directories.bundle(container.id) / "config.json"
        return shim.ContainerSpecResponse(document=await asyncio.to_thread(path.read_bytes))


async def _follow(tasks: Tasks, work: Work) -> AsyncIterator[shim.ImageProgress]:
    """Run `work`, sending its progress as it comes, and at last its images."""
    # In a task of its own: the work goes on when the command line is interrupted, as a pull of the
    # kubelet does, and equal work joins it.
    queue: asyncio.Queue[Progress | Exception | Sequence[Image]] = asyncio.Queue()
    tasks.start(_run(work, queue), "image work of the command line")
    while True:
        match await queue.get():
            case Progress() as progress:
                yield _progress(progress)
            case Exception() as error:
                raise error
            case images:
                loaded = [shim.LoadedImage(id=i.id, names=i.tags or i.digests) for i in images]
                yield shim.ImageProgress(images=loaded)
                return


async def _run(work: Work, queue: "asyncio.Queue[Progress | Exception | Sequence[Image]]") -> None:
    try:
        queue.put_nowait(await work(queue.put_nowait))
    except Exception as error:
        queue.put_nowait(error)


def _progress(progress: Progress) -> shim.ImageProgress:
    layers = [
        shim.LayerProgress(
            digest=layer.digest, state=layer.state.value, done=layer.done, total=layer.total
        )
        for layer in progress.layers
    ]
    return shim.ImageProgress(reference=progress.reference, layers=layers)
