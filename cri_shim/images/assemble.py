"""From a manifest to a recorded image, wherever the blobs come from.

Layers are fetched and unpacked at the same time, each unpacked as soon as it is here: overlay
layers do not depend on each other. Only directories that a layer does not describe look at the
layers below, so these are finished when all are there. Then everything is synced, then recorded:

    lease ─> manifest, configuration ─> layers: fetch ─> unpack ─> finish ─> sync ─> record
                                                                                       layers, image

kill -9 anywhere before the last step leaves no record, and what is there without one goes at the
next start, except parts of downloads. An error leaves as much, and gives it up at once. The layers'
records come before the image's: a layer without an image is collected, while an image without its
layers would be offered and could not run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from berth.base.errors import RuntimeFailure
from berth.linux.files import remove_tree
from berth.linux.threads import in_thread
from cri_shim.images.content.blobs import Blobs
from cri_shim.images.content.catalog import Catalog
from cri_shim.images.content.records import Layer, StoredImage
from cri_shim.images.document.manifest import Configuration, Descriptor, Manifest, chain_ids
from cri_shim.images.document.platforms import Platform
from cri_shim.images.errors import RegistryUnavailable
from cri_shim.images.progress import LayerState, Tracker
from cri_shim.images.snapshot.layers import Layers
from cri_shim.images.unpack.pool import UnpackPool
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
    tracker: Tracker


class Assembler:
    """Makes images out of blobs; what fails leaves nothing but resumable downloads."""

    def __init__(
        self,
        blobs: Blobs,
        layers: Layers,
        catalog: Catalog,
        unpack_pool: UnpackPool,
        platform: Platform,
        downloads: int,
    ) -> None:
        self._blobs = blobs
        self._layers = layers
        self._catalog = catalog
        self._unpack_pool = unpack_pool
        self._platform = platform
        self._downloads = downloads

    async def assemble(
        self, manifest: Manifest, raw_config: bytes, fetch: Fetch, names: Names, tracker: Tracker
    ) -> Image:
        """Fetch what is missing, unpack, sync, record. `raw_config` is verified by the caller."""
        what = f"the configuration {manifest.config.digest}"
        config = await in_thread(Configuration.parse, raw_config, what)
        config.check(manifest.layers, self._platform, what)
        chains = chain_ids(config.diff_ids)
        work = _Work(manifest, config, chains, fetch, tracker)
        try:
            with self._blobs.leases.hold(manifest.blobs), self._layers.leases.hold(chains):
                await self._blobs.add(manifest.raw, manifest.digest)
                await self._blobs.add(raw_config, manifest.config.digest)
                layers = await self._obtain_all(work)
                await in_thread(self._layers.finish, layers)
                return await self._record(work, layers, names)
        except BaseException as error:
            # Whole blobs are worth keeping where the next attempt may well succeed; those of a
            # broken image, or of one that the disk has no space for, are not.
            resumable = isinstance(error, RegistryUnavailable | asyncio.CancelledError)
            await self.collect(chains, manifest.blobs, resumable)
            if isinstance(error, OSError):
                raise RuntimeFailure(f"the image cannot be stored: {error}") from error
            raise

    async def collect(
        self, chains: Sequence[Digest], blobs: Sequence[Digest], resumable: bool = False
    ) -> None:
        """Remove those of the layers and blobs that no image and nobody else uses.

        `resumable` keeps the content of blobs for a next attempt. It is decided and put out of
        the way without an await; only what cannot be found any more is removed on a thread.
        """
        used_layers, used_blobs = in_use(self._catalog, self._layers)
        retired = self._layers.retire(chain for chain in chains if chain not in used_layers)
        origins = [layer.blob.digest for layer in retired]
        unused = [digest for digest in (*blobs, *origins) if digest not in used_blobs]
        aside = self._blobs.discard(unused, resumable)

        def remove() -> None:
            self._blobs.unlink_all(aside)
            self._layers.remove(retired)

        try:
            await in_thread(remove)
        finally:
            self._layers.erase(retired)

    async def _obtain_all(self, work: _Work) -> list[Layer]:
        # `slots` is for downloads alone. Unpacking has its own limit, by cores, in the pool: what
        # waits there does not keep the line idle.
        work.tracker.begin([(layer.digest, layer.size) for layer in work.manifest.layers])
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
        # The lock comes first, then the look: of two pulls that share a layer the second one finds
        # it here, or fetches it itself where the first one failed.
        async with self._layers.locks.hold(chain):
            if (layer := self._layers.get(chain)) is not None:
                work.tracker.move(index, LayerState.PRESENT)
                return layer
            await self._bring(work, index, slots)
            work.tracker.move(index, LayerState.UNPACKING)
            layer = await self._unpack(chain, work.config.diff_ids[index], blob)
            work.tracker.move(index, LayerState.DONE)
            return layer

    async def _bring(self, work: _Work, index: int, slots: asyncio.Semaphore) -> None:
        blob = work.manifest.layers[index]
        # Two layers of one image may be the same blob (empty ones are), and two pulls anyway.
        async with self._blobs.locks.hold(blob.digest):
            if not self._blobs.has(blob):
                async with slots:
                    work.tracker.move(index, LayerState.DOWNLOADING)
                    await work.fetch(blob, index)
        work.tracker.move(index, LayerState.DOWNLOADED)

    async def _unpack(self, chain: Digest, diff: Digest, blob: Descriptor) -> Layer:
        # Known to nobody until it is whole: kill -9 leaves a directory that no record names.
        directory = self._layers.new_directory()
        try:
            unpacked = await self._unpack_pool.unpack(
                self._blobs.path(blob.digest), directory, diff
            )
        except BaseException:
            await in_thread(remove_tree, directory)
            raise
        layer = Layer(
            chain, diff, directory.name, unpacked.size, unpacked.inodes, blob, unpacked.opaque
        )
        self._layers.add(layer, unpacked.implied)
        return layer

    async def _record(self, work: _Work, layers: list[Layer], names: Names) -> Image:
        manifest = work.manifest
        sizes = await in_thread(self._blobs.sizes, manifest.blobs)
        for layer in layers:
            self._layers.commit(layer)
            await asyncio.sleep(0)  # 50 µs each, and an image may have 500
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
        return self._catalog.put(StoredImage(image, manifest.media_type, sizes))


def in_use(catalog: Catalog, layers: Layers) -> tuple[set[Digest], set[Digest]]:
    """Chain ids and blobs that recorded images need; of a layer also the blob it came from."""
    chains: set[Digest] = set()
    blobs: set[Digest] = set()
    for stored in catalog.stored():
        chains.update(stored.image.layers)
        blobs.update(stored.blobs)
    # A layer that was here already keeps the blob it came from, which may be packed otherwise than
    # this image's own: `save` needs it.
    for chain in chains:
        layer = layers.get(chain)
        if layer is not None:
            blobs.add(layer.blob.digest)
    return chains, blobs


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the group; the others are its consequences.

    Callers tell BadImage from RegistryUnavailable by type, which a group would hide.
    """
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
