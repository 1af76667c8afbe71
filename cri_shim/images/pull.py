"""Pulls: resolve a name at its endpoints, fetch, assemble; equal pulls at one time are one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from berth.base.errors import BerthError, NotFound
from berth.base.operations import Operations, Stage
from berth.linux.tasks import Tasks
from berth.linux.threads import in_thread
from cri_shim.images.assemble import Assembler, Names
from cri_shim.images.content.blobs import Blobs
from cri_shim.images.document.manifest import MAX_CONFIG, Descriptor, Manifest, parse, select
from cri_shim.images.document.platforms import Platform
from cri_shim.images.document.reference import Reference
from cri_shim.images.errors import AccessDenied, BadImage, RegistryUnavailable
from cri_shim.images.progress import Listener, Progress, Tracker
from cri_shim.images.registry.auth import ANONYMOUS, Auth
from cri_shim.images.registry.certificates import Certificates
from cri_shim.images.registry.download import Memory, Retries, download
from cri_shim.images.registry.endpoints import Resolver
from cri_shim.images.registry.repository import MissingError, Registry, Served
from cri_shim.images.registry.tokens import DeniedError, Tokens
from cri_shim.images.registry.transport import BrokenConnectionError, Transport
from cri_shim.model.ids import Digest
from cri_shim.model.image import Image

# An index of indexes is legal and rare. None can name itself, for it would have to hold its own
# digest, but a hostile registry has as many as it likes.
_MAX_DEPTH = 4
T = TypeVar("T")


class Puller:
    """Brings images from registries into the store."""

    def __init__(
        self,
        tasks: Tasks,
        assembler: Assembler,
        blobs: Blobs,
        resolver: Resolver,
        platform: Platform,
        retries: Retries,
        certificates: Certificates,
    ) -> None:
        self._assembler = assembler
        self._blobs = blobs
        self._resolver = resolver
        self._platform = platform
        self._retries = retries
        self._certificates = certificates
        loop = asyncio.get_running_loop()
        self._tokens = Tokens(loop.time, resolver.may_be_plain)
        self._pulls: Operations[Image] = Operations(tasks, cancel_unwaited=True)
        self._listeners: dict[tuple[str, Auth], list[Listener]] = {}

    async def pull(self, text: str, auth: Auth | None, progress: Listener | None) -> Image:
        """Pull, or join an equal pull that runs; it is given up when nobody waits any more."""
        reference = Reference.parse(text)
        auth = auth if auth is not None and auth.fits(reference.domain) else ANONYMOUS
        key = (str(reference), auth)
        listener = progress or _ignore
        # One list for all who wait, those without a listener too: it goes with the last of them.
        listeners = self._listeners.setdefault(key, [])
        listeners.append(listener)

        async def run(_: Stage) -> Image:
            async with Transport(self._certificates) as transport:
                return await self._pull(transport, reference, auth, listeners)

        try:
            return await self._pulls.join(key, f"pull {reference}", run)
        finally:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[key]

    async def _pull(
        self, transport: Transport, reference: Reference, auth: Auth, listeners: list[Listener]
    ) -> Image:
        registries = [
            Registry(transport, endpoint, reference.path, auth, self._tokens)
            for endpoint in self._resolver.endpoints(reference.domain)
        ]
        sources = _Sources(reference, registries, auth)
        top = await sources.first(lambda registry: registry.manifest(reference.target))
        manifest = await self._descend(sources, top, _MAX_DEPTH)
        tracker = Tracker(str(reference), listeners)
        config = await self._config(sources, manifest)

        async def fetch(wanted: Descriptor, index: int) -> None:
            what = f"blob {wanted.digest} of image {reference}"
            await sources.first(lambda registry: self._blob(registry, wanted, index, tracker), what)

        # The name by digest has the top's digest, an index's too: that is what a pod spec pins.
        names = Names((reference.tagged,) if reference.tagged else (), (reference.at(top.digest),))
        return await self._assembler.assemble(manifest, config, fetch, names, tracker)

    async def _descend(self, sources: "_Sources", top: Served, depth: int) -> Manifest:
        """From an index down to the manifest for this node."""
        what = f"manifest {top.digest} of {sources.reference.name}"
        document = await in_thread(parse, top.raw, top.media_type, what)
        if isinstance(document, Manifest):
            return document
        if depth == 0:
            raise BadImage(f"{what}: indexes lie in each other more than {_MAX_DEPTH} deep")
        chosen = select(document, self._platform, f"image {sources.reference}")
        below = await sources.first(lambda registry: registry.manifest(chosen.digest))
        return await self._descend(sources, below, depth - 1)

    async def _config(self, sources: "_Sources", manifest: Manifest) -> bytes:
        what = f"configuration {manifest.config.digest} of image {sources.reference}"

        async def fetch(registry: Registry) -> bytes:
            memory = Memory(manifest.config, MAX_CONFIG, what)
            await download(registry, manifest.config, memory, self._retries, lambda _: None)
            return await in_thread(memory.content)

        return await sources.first(fetch, what)

    async def _blob(
        self, registry: Registry, wanted: Descriptor, index: int, tracker: Tracker
    ) -> Digest:
        async with self._blobs.writing(wanted) as writing:
            tracker.count(index, await in_thread(writing.take_up))
            await download(
                registry, wanted, writing, self._retries, lambda size: tracker.count(index, size)
            )
        return wanted.digest


def _ignore(progress: Progress) -> None:
    """The listener of a waiter that wants no progress."""


class _Sources:
    """The endpoints of one pull in order; where one fails, the next is asked."""

    def __init__(self, reference: Reference, registries: list[Registry], auth: Auth) -> None:
        self.reference = reference
        self._registries = registries
        self._auth = auth

    async def first(self, ask: Callable[[Registry], Awaitable[T]], what: str = "") -> T:
        """The first success; else one error that tells what every source said.

        `what` is asked for, where it is not the image itself.
        """
        said: list[str] = []
        final: Exception | None = None
        for registry in self._registries:
            try:
                answer = await ask(registry)
                self._prefer(registry)
                return answer
            except (MissingError, DeniedError) as error:
                # From a mirror that only means that it has not got it. The registry's own word is
                # final: asked by TLS after plain HTTP it would say the same.
                said.append(str(error))
                if registry.endpoint.own:
                    final = error
                    break
            # A mirror that lies is passed over; the registry itself that does is the end, for the
            # digest is right or wrong for good.
            except BadImage as error:
                if registry.endpoint.own:
                    raise
                said.append(str(error))
            # The next one, even after the registry itself: on loopback it is tried without TLS,
            # then with it.
            except BrokenConnectionError as error:
                said.append(f"{registry.endpoint}: {error}")
        raise self._error(final, "; ".join(said), what)

    def _prefer(self, registry: Registry) -> None:
        """Ask the one that has just succeeded first from now on.

        A blob is tried many times at one endpoint before the next is asked: a dead mirror in front
        would cost that for every layer.
        """
        self._registries = [registry, *(r for r in self._registries if r is not registry)]

    def _error(self, final: Exception | None, said: str, what: str) -> BerthError:
        image = str(self.reference)
        if isinstance(final, MissingError) and what:
            return BadImage(f"{what} is missing in the registry ({said}): push the image again")
        if isinstance(final, MissingError):
            return NotFound(
                f"image {image} does not exist ({said}): check its name, tag and digest"
            )
        if isinstance(final, DeniedError):
            return AccessDenied(
                f"pull of {image} is denied ({said}), tried {self._auth}: "
                "check the name and the pull secret"
            )
        return RegistryUnavailable(
            f"no registry answers for {image} ({said}): check the registry and the network"
        )
