"""From a manifest to a recorded image, wherever the blobs come from.

Layers are fetched and unpacked at the same time, each unpacked as soon as it is here: overlay
layers do not depend on each other. Only directories that a layer does not describe look at the
layers below, so these are settled when all are there. Then everything is synced, then recorded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from berth.base.errors import RuntimeFailure
from berth.linux.files import remove_tree
from cri_shim.images.content.blobs import Blobs
from cri_shim.images.content.catalog import Catalog
from cri_shim.images.content.records import Layer, StoredImage
from cri_shim.images.document.manifest import Configuration, Descriptor, Manifest, chain_ids
from cri_shim.images.document.platforms import Platform
from cri_shim.images.errors import RegistryUnavailable
from cri_shim.images.progress import Board, LayerState
from cri_shim.images.snapshot.layers import Layers
from cri_shim.images.unpack.workers import Unpackers
from cri_shim.model.ids import Digest, ImageId
from cri_shim.model.image import Image

Fetch = Callable[[Descriptor, int], Awaitable[None]]
"""Bring a blob into the store; the number is its layer's, for the progress."""


@dataclass(frozen=True, slots=True)
class Names:
    """What an image shall be found by."""

    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()


@dataclass(slots=True)
class _Work:
    """One image in the making."""

    manifest: Manifest
    config: Configuration
    chains: tuple[Digest, ...]
    fetch: Fetch
    board: Board


class Assembler:
    """Makes images out of blobs; what fails leaves nothing but resumable downloads."""

    def __init__(
        self,
        blobs: Blobs,
        layers: Layers,
        catalog: Catalog,
        unpackers: Unpackers,
        platform: Platform,
        downloads: int,
    ) -> None:
        self._blobs = blobs
        self._layers = layers
        self._catalog = catalog
        self._unpackers = unpackers
        self._platform = platform
        self._downloads = downloads

    async def assemble(
        self, manifest: Manifest, raw_config: bytes, fetch: Fetch, names: Names, board: Board
    ) -> Image:
        """Fetch what is missing, unpack, sync, record. `raw_config` is verified by the caller."""
        what = f"the configuration {manifest.config.digest}"
        config = Configuration.parse(raw_config, what)
        config.check(manifest.layers, self._platform, what)
        chains = chain_ids(config.diff_ids)
        work = _Work(manifest, config, chains, fetch, board)
        try:
            with self._blobs.holds.hold(manifest.blobs), self._layers.holds.hold(chains):
                self._blobs.add(manifest.raw, manifest.digest)
                self._blobs.add(raw_config, manifest.config.digest)
                layers = await self._obtain_all(work)
                await asyncio.to_thread(self._layers.settle, layers)
                return self._record(work, layers, names)
        except BaseException as error:
            resumable = isinstance(error, RegistryUnavailable | asyncio.CancelledError)
            await asyncio.shield(self.collect(chains, manifest.blobs, resumable))
            if isinstance(error, OSError):
                raise RuntimeFailure(f"the image cannot be stored: {error}") from error
            raise

    async def collect(
        self, chains: Sequence[Digest], blobs: Sequence[Digest], resumable: bool = False
    ) -> None:
        """Remove those of the layers and blobs that no image and nobody else uses.

        `resumable` keeps the content of blobs for a next attempt.
        """
        used_layers, used_blobs = in_use(self._catalog, self._layers)
        retired = self._layers.retire(chain for chain in chains if chain not in used_layers)
        origins = [layer.blob.digest for layer in retired]
        unused = [digest for digest in (*blobs, *origins) if digest not in used_blobs]
        self._blobs.discard(unused, resumable)
        await asyncio.to_thread(self._layers.remove, retired)
        self._layers.erase(retired)

    async def _obtain_all(self, work: _Work) -> list[Layer]:
        work.board.begin([(layer.digest, layer.size) for layer in work.manifest.layers])
        slots = asyncio.Semaphore(self._downloads)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._obtain(work, index, slots), name=f"layer {digest}")
                    for index, digest in enumerate(work.chains)
                ]
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return [task.result() for task in tasks]

    async def _obtain(self, work: _Work, index: int, slots: asyncio.Semaphore) -> Layer:
        chain = work.chains[index]
        blob = work.manifest.layers[index]
        async with self._layers.locks.hold(chain):
            if (layer := self._layers.get(chain)) is not None:
                work.board.move(index, LayerState.PRESENT)
                return layer
            await self._bring(work, index, slots)
            work.board.move(index, LayerState.UNPACKING)
            layer = await self._unpack(chain, work.config.diff_ids[index], blob)
            work.board.move(index, LayerState.DONE)
            return layer

    async def _bring(self, work: _Work, index: int, slots: asyncio.Semaphore) -> None:
        blob = work.manifest.layers[index]
        async with self._blobs.locks.hold(blob.digest):
            if not self._blobs.has(blob):
                async with slots:
                    work.board.move(index, LayerState.DOWNLOADING)
                    await work.fetch(blob, index)
        work.board.move(index, LayerState.DOWNLOADED)

    async def _unpack(self, chain: Digest, diff: Digest, blob: Descriptor) -> Layer:
        directory = self._layers.new_directory()
        try:
            unpacked = await self._unpackers.unpack(self._blobs.path(blob.digest), directory, diff)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(remove_tree, directory))
            raise
        layer = Layer(
            chain, diff, directory.name, unpacked.size, unpacked.inodes, blob, unpacked.opaque
        )
        self._layers.add(layer, unpacked.implied)
        return layer

    def _record(self, work: _Work, layers: list[Layer], names: Names) -> Image:
        manifest = work.manifest
        self._layers.commit(layers)
        image = Image(
            id=ImageId(manifest.config.digest),
            tags=names.tags,
            digests=names.digests,
            size=sum(layer.size for layer in layers),
            config=work.config.config,
            layers=work.chains,
            manifest=manifest.digest,
            annotations=manifest.annotations,
        )
        sizes = self._blobs.sizes(manifest.blobs)
        return self._catalog.put(StoredImage(image, manifest.media_type, sizes))


def in_use(catalog: Catalog, layers: Layers) -> tuple[set[Digest], set[Digest]]:
    """Chain ids and blobs that recorded images need; of a layer also the blob it came from."""
    chains: set[Digest] = set()
    blobs: set[Digest] = set()
    for stored in catalog.stored():
        chains.update(stored.image.layers)
        blobs.update(stored.blobs)
    for chain in chains:
        layer = layers.get(chain)
        if layer is not None:
            blobs.add(layer.blob.digest)
    return chains, blobs


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the group; the others are its consequences."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
