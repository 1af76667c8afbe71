"""A registry that misbehaves as told: breaks, lies, throttles, redirects, asks for credentials."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from aiohttp import web

from tests.support.image import BuiltImage, digest


@dataclass
class Script:
    """What the server has and how it answers. `seen`: method, path and headers of each request."""

    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """One number for each coming blob request: the connection dies after so many bytes."""
    arriving: Path | None = None
    """Root of the puller's store: the connection dies only when what was sent has arrived there,
    for a client drops what it has not read yet."""
    hang_after: dict[str, int] = field(default_factory=dict)
    """So many bytes of a blob are sent, and no more as long as the blob stands here."""
    ranges: bool = True
    failures: list[int] = field(default_factory=list)
    """Statuses of the coming requests, before any is served."""
    retry_after: str = "0"
    """Header of the failures."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Content-Length told for a blob instead of the true one."""
    redirect: str = ""
    """Scheme and host to which blobs are redirected."""
    auth: str = ""
    """`basic`, `bearer`, or the token that alone is accepted."""
    realm: str = ""
    token_redirect: str = ""
    """Host to which requests for tokens are redirected."""
    password: str = "secret"
    refresh_token: str = "refresh"
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    forms: list[dict[str, list[str]]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Blobs wait for it."""

    def add(self, image: BuiltImage, tag: str = "latest") -> BuiltImage:
        manifest = (image.raw_manifest, image.media_type)
        self.manifests[tag] = self.manifests[image.digest] = manifest
        self.blobs |= image.blobs
        return image

    def paths(self, part: str) -> list[str]:
        return [path for _, path, _ in self.seen if part in path]


TOKEN = "a-bearer-token"


class _Server:
    def __init__(self, script: Script) -> None:
        self.script = script

    async def handle(self, request: web.Request) -> web.StreamResponse:
        script = self.script
        script.seen.append((request.method, request.path_qs, dict(request.headers)))
        if script.failures and (status := script.failures.pop(0)):
            headers = {"Retry-After": script.retry_after}
            return web.Response(status=status, headers=headers, text="not now")
        if request.path == "/token":
            return await self._token(request)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        target = request.path.rpartition("/")[2]
        if "/manifests/" in request.path:
            return self._manifest(target)
        return await self._blob(request, target)

    def _refusal(self, request: web.Request) -> web.Response | None:
        script, given = self.script, request.headers.get("Authorization", "")
        match script.auth:
            case "":
                return None
            case "basic":
                good = "Basic " + base64.b64encode(f"me:{script.password}".encode()).decode()
                challenge = 'Basic realm="test"'
            case "bearer":
                good = f"Bearer {TOKEN}"
                realm = script.realm or f"http://{request.host}/token"
                scope = "repository:" + request.path.split("/")[2] + ":pull"
                challenge = f'Bearer realm="{realm}",service="test",scope="{scope}"'
            case token:
                good, challenge = f"Bearer {token}", "Bearer"
        if given == good:
            return None
        body = '{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge}, text=body)

    async def _token(self, request: web.Request) -> web.Response:
        script = self.script
        if script.token_redirect:
            raise web.HTTPTemporaryRedirect(f"http://{script.token_redirect}/token")
        if request.method == "POST":
            form = parse_qs(await request.text())
            script.forms.append(form)
            if form["refresh_token"] != [script.refresh_token]:
                return web.Response(status=401, text="{}")
            return web.json_response({"access_token": TOKEN, "expires_in": 300})
        good = "Basic " + base64.b64encode(f"me:{script.password}".encode()).decode()
        if script.password and request.headers.get("Authorization") != good:
            return web.Response(status=401, text='{"errors":[{"code":"DENIED","message":"no"}]}')
        return web.json_response({"token": TOKEN})

    def _manifest(self, target: str) -> web.Response:
        if target not in self.script.manifests:
            body = '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}'
            return web.Response(status=404, text=body)
        raw, media_type = self.script.manifests[target]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest(raw)}
        return web.Response(body=raw, headers=headers)

    async def _arrival(self, target: str, size: int) -> None:
        if self.script.arriving is None:
            return
        blob = self.script.arriving / "blobs" / target.replace(":", "/")
        partial = blob.with_name(blob.name + ".partial")
        while partial.exists() and partial.stat().st_size < size:
            await asyncio.sleep(0.005)

    async def _blob(self, request: web.Request, target: str) -> web.StreamResponse:
        script = self.script
        if script.redirect:
            raise web.HTTPTemporaryRedirect(f"{script.redirect}{request.path}")
        if script.gate is not None:
            await script.gate.wait()
        if target not in script.blobs:
            return web.Response(status=404)
        data, status = script.blobs[target], 200
        asked = request.headers.get("Range", "")
        if script.ranges and asked:
            data, status = data[int(asked.removeprefix("bytes=").rstrip("-")) :], 206
        assert request.transport is not None
        response = web.StreamResponse(status=status)
        response.content_length = script.sizes.get(target, len(data))
        await response.prepare(request)
        if script.break_after:
            sent = data[: script.break_after.pop(0)]
            await response.write(sent)
            await self._arrival(target, len(script.blobs[target]) - len(data) + len(sent))
            request.transport.close()
            return response
        if target in script.hang_after:
            await response.write(data[: script.hang_after[target]])
            while target in script.hang_after and request.transport is not None:
                await asyncio.sleep(0.01)
            return response
        await response.write(data)
        return response


@contextlib.asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve on a free loopback port, with `tls` by TLS alone; gives `127.0.0.1:<port>`."""
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", _Server(script).handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        assert runner.addresses
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
