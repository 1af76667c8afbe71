"""Credentials for a registry, as CRI gives them, and the challenges that registries pose."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.images.document.reference import DEFAULT_DOMAIN

# docker login keeps the credentials of Docker Hub under the address of its first registry, and
# kubelet passes on what is in that file.
_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True, slots=True)
class Auth:
    """What to show a registry; its secrets never appear in its text.

    `identity_token` is an OAuth2 refresh token, `registry_token` a bearer token used as it is.
    """

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server: str = ""
    """Host the credentials are for; empty: whatever registry the image names."""

    @classmethod
    def from_cri(cls, message: cri.AuthConfig) -> "Auth":
        """Read AuthConfig; `auth` is base64 of user:password and counts where those are empty."""
        username, password = message.username, message.password
        if message.auth and not username and not password:
            username, password = _decode(message.auth)
        return cls(
            username,
            password,
            message.identity_token,
            message.registry_token,
            _host(message.server_address),
        )

    def __bool__(self) -> bool:
        return bool(self.username or self.password or self.identity_token or self.registry_token)

    # Both texts are our own: a dataclass would print its secrets into the first traceback.
    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        """Which credentials these are, without their content."""
        if self.registry_token:
            return "a registry token"
        if self.identity_token:
            return "an identity token"
        return f"user name {self.username!r} and a password" if self else "no credentials"

    def fits(self, domain: str) -> bool:
        """Whether they are meant for the registry of this name."""
        if not self.server or self.server == domain:
            return True
        return domain == DEFAULT_DOMAIN and self.server in _HUB

    def basic(self) -> str:
        """The value of an Authorization header for HTTP Basic."""
        raw = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(raw).decode()


ANONYMOUS = Auth()


def _decode(text: str) -> tuple[str, str]:
    try:
        # docker pads the text with NULs before it encodes it, and trims them when it reads.
        raw = base64.b64decode(text.strip(), validate=True).rstrip(b"\0").decode()
    except (binascii.Error, ValueError):
        raise InvalidArgument("auth.auth is not base64 of user:password") from None
    username, colon, password = raw.partition(":")
    if not colon:
        raise InvalidArgument("auth.auth holds no colon: it must be base64 of user:password")
    return username, password


def _host(address: str) -> str:
    """`https://index.docker.io/v1/` → `index.docker.io`."""
    return address.rpartition("://")[2].partition("/")[0]


@dataclass(frozen=True, slots=True)
class Challenge:
    """One WWW-Authenticate challenge (RFC 9110 11.6.1); `scheme` in lower case."""

    scheme: str
    realm: str
    service: str
    scope: str


# Commas separate the parameters of a challenge and the challenges of a header alike. What tells
# them apart is the `=`: a word without one begins a challenge. A comma in quotes is neither, hence
# no split(). No quantifier stands inside another, so that a hostile header takes linear time.
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?:\s+|\Z|,)")
_PARAMETER = re.compile(rf"\s*,?\s*({_TOKEN})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|({_TOKEN}))")


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of all WWW-Authenticate headers; what cannot be read is left out."""
    found = []
    for header in headers:
        at = 0
        while match := _SCHEME.match(header, at):
            parameters: dict[str, str] = {}
            at = match.end()
            while parameter := _PARAMETER.match(header, at):
                value = parameter[2] if parameter[2] is not None else parameter[3]
                parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", value)
                at = parameter.end()
            known = (parameters.get(key, "") for key in ("realm", "service", "scope"))
            found.append(Challenge(match[1].lower(), *known))
    return found
