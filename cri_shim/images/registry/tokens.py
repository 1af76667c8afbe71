"""What challenges ask for: Basic, or a token of a token server (docker token spec, OAuth2).

    us                          registry                     token server (the realm)
     │ GET /v2/…/manifests/… ──────>│                             │
     │<── 401 WWW-Authenticate: Bearer realm=…,service=…,scope=…  │
     │ GET realm?service=…&scope=…, Authorization: Basic ────────>│   or, with an identity token,
     │<── {"token": …, "expires_in": 300} ────────────────────────│   POST of an OAuth2 refresh
     │ GET /v2/…/manifests/…, Authorization: Bearer ──>│          │
     │<── 200                                          │          │

A token is kept for its scope and credentials until shortly before it expires. Credentials go to
the realm alone, never to the registry where it asks for a bearer token: so the realm, which any
registry may choose at will, has to be one that can be trusted with them (`_check_realm`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from cri_shim.images.registry.auth import ANONYMOUS, Auth, Challenge
from cri_shim.images.registry.transport import BrokenConnectionError, Transport

if TYPE_CHECKING:
    import aiohttp

# A token that ends while its request is under way would cost one more round trip; and the server's
# clock is not ours, but the life it tells counts from now, so that no clock is compared.
_MARGIN = 10.0
_DEFAULT_LIFE = 60.0
"""Seconds that a token lives where its server does not say (docker token spec)."""
_MAX_ANSWER = 1 << 20
_CLIENT = "berth"


class DeniedError(Exception):
    """The registry or its token server refuses the credentials; the text says who and why."""


@dataclass(frozen=True, slots=True)
class _Key:
    realm: str
    service: str
    scope: str
    auth: Auth


class Tokens:
    """Authorization headers for challenges. `clock` in seconds; `may_be_plain` judges realms."""

    def __init__(self, clock: Callable[[], float], may_be_plain: Callable[[str], bool]) -> None:
        self._clock = clock
        self._may_be_plain = may_be_plain
        self._kept: dict[_Key, tuple[str, float]] = {}

    async def answer(
        self, transport: Transport, challenges: list[Challenge], scope: str, auth: Auth
    ) -> str | None:
        """The header's value for the first challenge that can be answered, else None."""
        # In the server's order, which is its preference (RFC 9110, 11.6.1).
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.realm:
                # Some servers leave the scope out. A token without one would be refused again.
                key = _Key(challenge.realm, challenge.service, challenge.scope or scope, auth)
                return "Bearer " + await self._token(transport, key)
            if challenge.scheme == "basic" and auth.username:
                return auth.basic()
        return None

    def forget(self, auth: Auth) -> None:
        """A token was refused: fetch a new one at the next challenge."""
        self._kept = {key: kept for key, kept in self._kept.items() if key.auth != auth}

    async def _token(self, transport: Transport, key: _Key) -> str:
        now = self._clock()
        # Here, for want of a better moment: a node pulls from few repositories, but for years.
        self._kept = {k: kept for k, kept in self._kept.items() if kept[1] > now}
        if key not in self._kept:
            token, life = await self._fetch(transport, key)
            self._kept[key] = (token, now + life - _MARGIN)
            return token
        return self._kept[key][0]

    async def _fetch(self, transport: Transport, key: _Key) -> tuple[str, float]:
        self._check_realm(key)
        if key.auth.identity_token:
            return await self._ask(transport, "POST", key, _refresh_form(key))
        return await self._ask(transport, "GET", key, None)

    def _check_realm(self, key: _Key) -> None:
        scheme = urlsplit(key.realm).scheme
        if scheme == "https" or (scheme == "http" and self._may_be_plain(key.realm)):
            return
        if key.auth == ANONYMOUS and scheme == "http":
            return  # nothing to steal; that the blobs are right, their digests tell
        raise DeniedError(
            f"credentials are wanted at {key.realm}, without TLS: refused; "
            "name its host in images.plain_http if that is meant"
        )

    async def _ask(
        self, transport: Transport, method: str, key: _Key, form: Mapping[str, str] | None
    ) -> tuple[str, float]:
        headers, url = {}, key.realm
        # The realm may have a query of its own (`…/token?account=x`), to which ours is added.
        if form is None:
            query = {"service": key.service, "scope": key.scope, "client_id": _CLIENT}
            joint = "&" if urlsplit(url).query else "?"
            url += joint + urlencode({k: v for k, v in query.items() if v})
            headers = {"Authorization": key.auth.basic()} if key.auth.username else {}
        async with transport.request(method, url, headers, form) as response:
            return await _read_token(response, key.realm)


def _refresh_form(key: _Key) -> dict[str, str]:
    """OAuth2 refresh (RFC 6749, 6), as docker's token servers take it.

    As a form in the body: a query would put the refresh token into the server's access log.
    """
    return {
        "grant_type": "refresh_token",
        "refresh_token": key.auth.identity_token,
        "client_id": _CLIENT,
        "service": key.service,
        "scope": key.scope,
    }


async def _read_token(response: "aiohttp.ClientResponse", realm: str) -> tuple[str, float]:
    raw = await read_limited(response, _MAX_ANSWER)
    # 400 is what OAuth2 says to a refresh token that is wrong or spent (RFC 6749, 5.2).
    if response.status in (400, 401, 403):
        raise DeniedError(f"token server {realm} says {response.status}: {message_of(raw)}")
    if response.status != 200:
        raise BrokenConnectionError(f"token server {realm} says {response.status}")
    try:
        answer: dict[str, Any] = json.loads(raw)
        # `token` is docker's name and `access_token` OAuth2's: a server may give either or both.
        token = str(answer.get("token") or answer["access_token"])
        return token, float(answer.get("expires_in") or _DEFAULT_LIFE)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BrokenConnectionError(f"token server {realm} gives no token") from None


async def read_limited(response: "aiohttp.ClientResponse", limit: int) -> bytes:
    """The body, up to one byte more than the limit."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            break
    return bytes(data[: limit + 1])


def message_of(raw: bytes) -> str:
    """The message in a registry's error document, short and printable.

    It goes into a gRPC error and a log: no newline, no escape sequence, no page of HTML.
    """
    try:
        first = json.loads(raw)["errors"][0]
        text = f"{first.get('code', '')} {first.get('message', '')}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        text = raw[:200].decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200] or "nothing"
