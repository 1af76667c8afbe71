"""A repository at one endpoint: manifests and blobs by the registry protocol, version 2."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth.linux.threads import in_thread
from cri_shim.images.document import media
from cri_shim.images.document.manifest import MAX_MANIFEST, Descriptor, digest_of
from cri_shim.images.errors import BadImage
from cri_shim.images.registry.auth import ANONYMOUS, Auth, parse_challenges
from cri_shim.images.registry.endpoints import Endpoint
from cri_shim.images.registry.tokens import DeniedError, Tokens, message_of, read_limited
from cri_shim.images.registry.transport import BrokenConnectionError, Transport
from cri_shim.model.ids import Digest

if TYPE_CHECKING:
    import aiohttp

_MAX_ERROR = 1 << 16
# Seconds. A registry that says `Retry-After: 86400`, or whoever speaks in its name, would hold the
# pull and its slot for a day; kubelet's own back-off is at most five minutes.
_MAX_WAIT = 30.0
_PARTIAL_CONTENT = 206


class MissingError(Exception):
    """The endpoint says that it does not have this."""


@dataclass(frozen=True, slots=True)
class Served:
    """A manifest or an index as served."""

    raw: bytes
    media_type: str
    digest: Digest


class Body:
    """A blob on its way. `offset` is where it begins: 0 where the server ignores ranges."""

    def __init__(self, response: "aiohttp.ClientResponse", offset: int) -> None:
        self._response = response
        self.offset = offset

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.content.iter_any():
            yield chunk


class Registry:
    """One repository at one endpoint, with the credentials that may be shown there."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, repository: str, auth: Auth, tokens: Tokens
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._repository = f"{endpoint.prefix}{repository}"
        # The pull secret is for the registry that the image names. A mirror is somebody else.
        self._auth = auth if endpoint.own else ANONYMOUS
        self._tokens = tokens
        self._header = f"Bearer {self._auth.registry_token}" if self._auth.registry_token else ""
        # The first blobs are asked for at the same time and all get 401: one fetches the token.
        self._login = asyncio.Lock()

    def _url(self, kind: str, target: str) -> str:
        return f"{self.endpoint.url}/v2/{self._repository}/{kind}/{target}"

    async def manifest(self, target: str) -> Served:
        """By tag or digest, checked against the digest asked for or announced."""
        url = self._url("manifests", target)
        async with self._get(url, {"Accept": media.ACCEPT}) as response:
            raw = await read_limited(response, MAX_MANIFEST)
            media_type = response.headers.get("Content-Type", "")
            announced = response.headers.get("Docker-Content-Digest", "")
        what = f"manifest {target} of {self._repository} at {self.endpoint}"
        if len(raw) > MAX_MANIFEST:
            raise BadImage(f"{what} has more than {MAX_MANIFEST} bytes")
        # Asked for by digest, nothing that the server says about itself counts. By tag there is no
        # other word than the server's, and the header only tells of damage on the way.
        promised = target if ":" in target else announced
        digest = await in_thread(digest_of, raw, promised or "sha256:")
        if promised and digest != promised:
            raise BadImage(f"{what} has the digest {digest}, not {promised}")
        return Served(raw, media_type, digest)

    @contextlib.asynccontextmanager
    async def blob(self, wanted: Descriptor, offset: int) -> AsyncIterator[Body]:
        """A blob from an offset on, if the server can; BadImage where it announces a wrong size."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        async with self._get(self._url("blobs", wanted.digest), headers) as response:
            # A server that has no ranges says 200 and sends everything (RFC 9110, 14.2): to append
            # that to what is here would give a wrong digest after gigabytes.
            begin = offset if response.status == _PARTIAL_CONTENT else 0
            announced = response.headers.get("Content-Length", "")
            # Absent with chunked transfer. Where it is there, it refuses before the bytes come.
            if announced.isdecimal() and begin + int(announced) != wanted.size:
                raise BadImage(
                    f"blob {wanted.digest} has {begin + int(announced)} bytes at {self.endpoint} "
                    f"and its manifest promises {wanted.size}"
                )
            yield Body(response, begin)

    @contextlib.asynccontextmanager
    async def _get(
        self, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """A successful response. Raises MissingError, DeniedError, BrokenConnectionError."""
        shown = self._header
        async with contextlib.AsyncExitStack() as stack:
            response = await self._send(stack, url, headers)
            # At any request, not only the first: tokens live some minutes, downloads longer.
            if response.status == 401 and await self._log_in(response, shown):
                response = await self._send(stack, url, headers)
            if response.status not in (200, _PARTIAL_CONTENT):
                await self._refuse(response)
            yield response

    async def _send(
        self, stack: contextlib.AsyncExitStack, url: str, headers: Mapping[str, str]
    ) -> "aiohttp.ClientResponse":
        own = {"Authorization": self._header} if self._header else {}
        request = self._transport.request("GET", url, {**headers, **own})
        return await stack.enter_async_context(request)

    async def _log_in(self, response: "aiohttp.ClientResponse", shown: str) -> bool:
        """Get what the challenge asks for; False where nothing new can be shown."""
        challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
        async with self._login:
            if self._header != shown:  # another request did it meanwhile
                return True
            if shown:
                # It was refused though it was not over: revoked, or for another scope.
                self._tokens.forget(self._auth)
            scope = f"repository:{self._repository}:pull"
            header = await self._tokens.answer(self._transport, challenges, scope, self._auth)
            self._header = header or ""
            return bool(header) and header != shown

    async def _refuse(self, response: "aiohttp.ClientResponse") -> None:
        said = message_of(await read_limited(response, _MAX_ERROR))
        match response.status:
            case 401 | 403:
                raise DeniedError(f"{self.endpoint} says {response.status} to {self._auth}: {said}")
            # Also what registries say of private images to those who may not know of them.
            case 404:
                raise MissingError(f"{self.endpoint} says 404: {said}")
            case status:
                # Seconds, or a date (RFC 9110, 10.2.3), which is left to our own doubling pause.
                # isdecimal: isdigit() is true for a superscript two, which float() refuses.
                wait = response.headers.get("Retry-After", "")
                seconds = min(float(wait), _MAX_WAIT) if wait.isdecimal() else 0.0
                raise BrokenConnectionError(f"it says {status}: {said}", seconds)
