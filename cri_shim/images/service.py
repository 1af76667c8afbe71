"""The image service: what the verbs and the command line ask of images."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from berth.base.errors import FailedPrecondition, InvalidArgument, NotFound, RuntimeFailure
from berth.linux.files import remove_tree
from berth.linux.tasks import Tasks
from berth.linux.threads import in_thread
from cri_shim.images.archive.load import Found, find_images, rename
from cri_shim.images.archive.save import save_image
from cri_shim.images.archive.source import Source, open_source
from cri_shim.images.assemble import Assembler, Names, in_use
from cri_shim.images.content.blobs import Blobs
from cri_shim.images.content.catalog import Catalog
from cri_shim.images.content.records import RecordTable, StoredImage
from cri_shim.images.document.manifest import Descriptor
from cri_shim.images.document.platforms import Platform
from cri_shim.images.document.reference import Reference
from cri_shim.images.progress import Listener, Tracker
from cri_shim.images.pull import Puller
from cri_shim.images.registry.auth import Auth
from cri_shim.images.registry.certificates import Certificates
from cri_shim.images.registry.download import Retries
from cri_shim.images.registry.endpoints import Resolver
from cri_shim.images.snapshot import idmapped
from cri_shim.images.snapshot.layers import Layers
from cri_shim.images.snapshot.snapshots import Snapshots
from cri_shim.images.unpack.pool import UnpackPool
from cri_shim.images.unpack.stream import Limits
from cri_shim.model.ids import Digest, ImageId
from cri_shim.model.image import Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set.

    `mirrors`: registry host → endpoints asked before it (`host[:port][/path]` or a URL).
    `plain_http`: registry hosts that may be spoken to without TLS; loopback ones always may.
    `certs_dir`: see `certificates`.
    """

    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    plain_http: frozenset[str] = frozenset()
    certs_dir: Path | None = None
    downloads: int = 3
    retries: Retries = Retries()
    limits: Limits = Limits()
    platform: Platform = field(default_factory=lambda: Platform.of_machine(os.uname().machine))


class Images:
    """All images of the node, in `root`; one instance for each directory.

    `used_by` tells which images containers use: image id → a container's name.
    """

    def __init__(
        self,
        root: Path,
        images: RecordTable,
        layers: RecordTable,
        tasks: Tasks,
        used_by: Callable[[], Mapping[str, str]],
        settings: Settings | None = None,
    ) -> None:
        settings = settings or Settings()
        # Passable, for root file systems of user namespaces are below. The stores in it are 0700: a
        # process of the host must not run a setuid program out of an image's layer.
        root.mkdir(parents=True, exist_ok=True, mode=0o711)
        self._root = root
        self._scratch = root / "tmp"
        self._used_by = used_by
        self._platform = settings.platform
        self._limit = settings.limits.size
        self._blobs = Blobs(root / "blobs")
        self._layers = Layers(root / "layers", layers)
        self._catalog = Catalog(images)
        self._snapshots = Snapshots(root, self._layers, self._by_id)
        self._unpack_pool = UnpackPool(tasks, settings.limits)
        self._assembler = Assembler(
            self._blobs,
            self._layers,
            self._catalog,
            self._unpack_pool,
            settings.platform,
            settings.downloads,
        )
        self._puller = Puller(
            tasks,
            self._assembler,
            self._blobs,
            Resolver(settings.mirrors, settings.plain_http),
            settings.platform,
            settings.retries,
            Certificates(settings.certs_dir),
        )
        self._load()

    def _load(self) -> None:
        """Read the records and remove what a crash left. Blocks; at start."""
        # In this order: layers tell which images are whole, images tell which layers and blobs are
        # in use. Nothing else runs yet, so that whatever is not in use is a crash's.
        remove_tree(self._scratch)
        self._scratch.mkdir(mode=0o700)
        self._layers.load()
        for image_id in self._catalog.load(self._layers.chains()):
            log.warning("image %s lost a layer and was dropped: pull it again", image_id)
        chains, blobs = in_use(self._catalog, self._layers)
        orphans = self._layers.retire([c for c in self._layers.chains() if c not in chains])
        self._layers.remove(orphans)
        self._layers.erase(orphans)
        self._blobs.sweep(blobs)
        self._snapshots.load()

    async def close(self) -> None:
        """End the unpacking processes and the threads. Mounts and records stay."""
        await self._unpack_pool.close()
        self._snapshots.close()

    @property
    def mountpoint(self) -> Path:
        """The directory whose file system holds the images."""
        return self._root

    def maps_ids(self) -> bool:
        """Whether root file systems can have the ids of a user namespace here. Blocks."""
        return idmapped.supported(self._root)

    def get(self, reference: str) -> Image | None:
        """By id, `name[:tag]`, `name@digest` or a short id of 6 digits and more that is unique."""
        stored = self._catalog.find(reference)
        return stored.image if stored else None

    def list(self) -> tuple[Image, ...]:
        """All images, as of now."""
        return self._catalog.list()

    def usage(self) -> tuple[int, int]:
        """Bytes and inodes of all images: unpacked layers and stored blobs."""
        # A layer or blob that several images share counts once: kubelet collects garbage by this.
        size, inodes = self._layers.usage()
        blobs = {d: s for stored in self._catalog.stored() for d, s in stored.sizes.items()}
        return size + sum(blobs.values()), inodes + len(blobs)

    def written(self, container_id: str) -> Path:
        """The directory with what a container wrote into its root, as overlay keeps it."""
        return self._snapshots.written(container_id)

    async def pull(
        self, reference: str, auth: Auth | None = None, progress: Listener | None = None
    ) -> Image:
        """Pull by name and tag or digest; equal pulls at one time are one.

        Raises NotFound, AccessDenied, RegistryUnavailable, BadImage.
        """
        return await self._puller.pull(reference, auth, progress)

    async def load(
        self, path: Path, name: str | None = None, progress: Listener | None = None
    ) -> Sequence[Image]:
        """Load an OCI layout directory, an OCI archive or a docker archive.

        `name` replaces the name of the only image in it. What fits no layout, is truncated or
        has wrong digests is refused whole (BadImage, InvalidArgument).
        """
        with contextlib.ExitStack() as opened:

            def find() -> tuple[Source, list[Found]]:
                try:
                    source = open_source(path, self._scratch, self._limit)
                except OSError as error:
                    raise RuntimeFailure(f"{path} cannot be read: {error.strerror}") from error
                opened.callback(source.close)
                return source, find_images(source, self._platform, str(path))

            try:
                source, found = await in_thread(find)
                if name is not None:
                    found = rename(found, name, str(path))
                return [await self._load_one(source, one, path, progress) for one in found]
            finally:
                # The copy of a compressed archive has no name: its blocks are given back now.
                await in_thread(opened.close)

    async def _load_one(
        self, source: Source, found: Found, path: Path, progress: Listener | None
    ) -> Image:
        async def fetch(wanted: Descriptor, _: int) -> None:
            async with self._blobs.writing(wanted) as writing:

                def copy() -> None:
                    with source.open(found.files[wanted.digest]) as file:
                        writing.fill(file)

                await in_thread(copy)

        references = [Reference.parse(text) for text in found.names]
        # A docker archive has no manifest that a registry would know: no name by digest then.
        names = Names(
            tuple(r.tagged for r in references if r.tagged),
            tuple(r.at(found.top) for r in references) if found.top else (),
        )
        tracker = Tracker(
            found.names[0] if found.names else str(path), [progress] if progress else []
        )
        return await self._assembler.assemble(found.manifest, found.config, fetch, names, tracker)

    async def save(self, reference: str, path: Path) -> None:
        """Write an image as an archive that OCI tools and docker read alike."""
        stored = self._found(reference)
        with self._blobs.leases.hold(stored.blobs), self._layers.leases.hold(stored.image.layers):
            layers = [self._layers.get(chain) for chain in stored.image.layers]
            await in_thread(save_image, stored, layers, self._blobs, path)

    def _found(self, reference: str) -> StoredImage:
        stored = self._catalog.find(reference)
        if stored is None:
            raise NotFound(f"image {reference} is not on this node: pull or load it")
        return stored

    async def remove(self, reference: str) -> None:
        """Remove the image with all its names; missing is fine.

        FailedPrecondition naming the container where one uses it.
        """
        stored = self._catalog.find(reference)
        if stored is None:
            return
        # Nothing is awaited between the look and the end of its visibility: a `prepare` either
        # counts as a use here, or does not find the image.
        self._check_unused(stored.image.id, reference)
        self._catalog.forget(stored.image.id)
        try:
            await self._assembler.collect(stored.image.layers, stored.blobs)
        finally:
            # Last: after kill -9 in the middle the next start finds an image that lost a layer,
            # and drops it with whatever else it had.
            self._catalog.erase(stored.image.id)
        await in_thread(self._blobs.expire)

    def _check_unused(self, image_id: ImageId, reference: str) -> None:
        # Two sources: a container's record comes before its snapshot, and after a crash a snapshot
        # may outlive its record.
        names = self._used_by()
        users = self._snapshots.users(image_id)
        name = names.get(image_id) or (users[0] if users else None)
        if name is not None:
            raise FailedPrecondition(
                f"image {reference} is used by container {name}: remove the container first"
            )

    def _by_id(self, image_id: str) -> Image:
        stored = self._catalog.by_id(image_id)
        if stored is None:
            raise NotFound(f"image {image_id} is not on this node: pull or load it")
        return stored.image

    async def prepare(self, image_id: str, container_id: str, userns: Path | None = None) -> Path:
        """Mount a writable snapshot of the image for a container; the path of its root.

        `userns` is the pinned user namespace whose ids its files shall have.
        """
        return await self._snapshots.prepare(image_id, _checked(container_id), userns)

    def rootfs(self, container_id: str) -> Path:
        """Where the root of a container's snapshot is, or would be."""
        return self._snapshots.rootfs(container_id)

    async def write(self, container_id: str, tar: Path) -> None:
        """Unpack a plain tar over a container's prepared root; BadImage names a wrong entry."""
        # The worker checks a digest in any case; here it can only tell of a failing disk.
        digest = await in_thread(_digest, tar)
        await self._unpack_pool.unpack(tar, self.rootfs(_checked(container_id)), digest, onto=True)

    async def release(self, container_id: str) -> None:
        """Unmount and remove a container's snapshot; missing is fine."""
        await self._snapshots.release(_checked(container_id))

    def snapshots(self) -> tuple[str, ...]:
        """Ids of the containers that have a snapshot (recovery releases those of nobody)."""
        return self._snapshots.containers()

    async def mount_image(self, image_id: str, key: str, userns: Path | None = None) -> Path:
        """A read-only mount of the image, one for each key (a pod's id, say)."""
        return await self._snapshots.mount_image(image_id, key, userns)

    async def unmount_image(self, image_id: str, key: str) -> None:
        """Undo `mount_image`; missing is fine."""
        await self._snapshots.unmount_image(ImageId(image_id), key)


def _digest(path: Path) -> Digest:
    """The digest of a file's bytes. Blocks."""
    with path.open("rb") as file:
        return Digest(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def _checked(container_id: str) -> str:
    """An id becomes a directory's name, so it must be one part of a path."""
    if not container_id or "/" in container_id or container_id in (".", ".."):
        raise InvalidArgument(f"container id {container_id!r} cannot be the name of a directory")
    return container_id
