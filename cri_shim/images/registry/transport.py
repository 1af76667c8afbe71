"""HTTP requests to registries: redirects, proxies, certificates, and errors as one kind.

aiohttp is imported at the first pull: a daemon that pulls nothing does not carry it.
"""

import asyncio
import contextlib
import os
import ssl
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from berth.linux.threads import in_thread
from cri_shim.images.registry.certificates import Certificates

if TYPE_CHECKING:
    import aiohttp

CONNECT_TIMEOUT = 15.0
READ_TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
# A blob is usually one redirect away, in the registry's object storage.
_MAX_REDIRECTS = 5
_BUFFER = 1 << 19
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class BrokenConnectionError(Exception):
    """No response, half of one, or one that says "not now"; another try may do.

    `wait`: seconds that the server asked for.
    """

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


class Transport:
    """A session of connections; leave the context to close them."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._contexts: dict[str, ssl.SSLContext | None] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Transport":
        # The import takes a quarter of a second: in a thread, for the loop has others to serve.
        await asyncio.to_thread(__import__, "aiohttp")
        import aiohttp

        # No limit in all: a large layer over a slow line takes hours. Silence is what counts.
        # `identity`: digests and ranges are those of the bytes as stored. A proxy that compresses,
        # or a client that decompresses on its own, would break both.
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
            ),
            headers={"User-Agent": "berth", "Accept-Encoding": "identity"},
            auto_decompress=False,
            read_bufsize=_BUFFER,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None = None,
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """Send a request and follow redirects; yields the response, whatever its status.

        A redirect to another host does not get the Authorization header; one from TLS to plain
        HTTP, or of a form, is not followed. Raises BrokenConnectionError.
        """
        import aiohttp

        try:
            # Redirects are followed here and not by aiohttp, for every step has to be looked at,
            # not only the first and the last.
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(_MAX_REDIRECTS):
                    context = await self._context(urlsplit(url).netloc)
                    response = await stack.enter_async_context(
                        self._send(method, url, headers, form, context)
                    )
                    location = response.headers.get("Location", "")
                    # A form has a refresh token in it: it goes to the realm that was checked, and
                    # nowhere else.
                    if response.status not in _REDIRECTS or not location or form is not None:
                        yield response
                        return
                    url, headers = _redirected(url, urljoin(url, location), headers)
                raise BrokenConnectionError(f"more than {_MAX_REDIRECTS} redirects")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BrokenConnectionError(explain(error)) from error

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        context: ssl.SSLContext | None,
    ) -> "aiohttp.client._RequestContextManager":
        assert self._session is not None
        return self._session.request(
            method,
            url,
            headers=headers,
            data=form,
            allow_redirects=False,
            proxy=proxy_for(url),
            ssl=context or True,
        )

    async def _context(self, host: str) -> ssl.SSLContext | None:
        if host not in self._contexts:
            # The system's authorities are a hundred certificates to parse: some 20 ms.
            self._contexts[host] = await in_thread(self._certificates.context, host)
        return self._contexts[host]


def _redirected(old: str, new: str, headers: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    before, after = urlsplit(old), urlsplit(new)
    # Plain HTTP for one registry, or for a loopback one, is a word about that host. After TLS it
    # would be a downgrade that somebody on the line could have asked for; and the URL of an object
    # store is signed, which makes it a credential itself.
    if after.scheme not in ("http", "https") or (before.scheme, after.scheme) == ("https", "http"):
        raise BrokenConnectionError(f"redirect from TLS to {after.scheme}://{after.netloc}")
    if (before.scheme, before.netloc) == (after.scheme, after.netloc):
        return new, headers
    # Another origin is another party (the object storage): the registry's token is not for it, and
    # S3 refuses a request that has both a signed URL and an Authorization header.
    return new, {key: value for key, value in headers.items() if key != "Authorization"}


def proxy_for(url: str) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) for a URL."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies_environment()
    # Read at each request: no state, and NO_PROXY is a matter of the host that is asked.
    if parts.scheme not in proxies or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxies[parts.scheme]


def explain(error: BaseException) -> str:
    """What went wrong on a connection, as a part of a message."""
    import aiohttp

    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not trusted: {error.certificate_error}"
        case aiohttp.ClientSSLError():
            return f"TLS fails: {getattr(error.os_error, 'reason', '') or error.os_error}"
        case aiohttp.ClientConnectorError() if error.os_error.errno:
            return os.strerror(error.os_error.errno)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection broke"
        case TimeoutError():
            return f"no answer within {READ_TIMEOUT:.0f} s"
        case OSError() if error.strerror:
            return error.strerror
        case _:
            return str(error) or type(error).__name__
