"""Where a registry's content is asked for, in order: its mirrors, then itself.

Other sources of mirrors (registries.conf, certs.d) are further ways to build a Resolver's table.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from berth.base.errors import InvalidArgument

# docker.io is a name, not a server: what answers there is a web site.
_HOSTS = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server: `url` is scheme and host, `prefix` goes before the repository (`proxy/`).

    `own`: it is the registry that the image names. Credentials go nowhere else.
    """

    url: str
    prefix: str
    own: bool

    def __str__(self) -> str:
        return f"{self.url}/{self.prefix}".rstrip("/")


class Resolver:
    """The endpoints of each registry."""

    def __init__(self, mirrors: Mapping[str, Sequence[str]], plain_http: frozenset[str]) -> None:
        self._plain_http = plain_http
        self._mirrors = {
            domain: tuple(e for text in texts for e in self._parse(text))
            for domain, texts in mirrors.items()
        }

    def endpoints(self, domain: str) -> tuple[Endpoint, ...]:
        """Mirrors first; a loopback registry by plain HTTP, then by TLS."""
        # The registry itself is last and always there: a mirror that lacks an image, or is down,
        # costs a request and not the pull.
        host = _HOSTS.get(domain, domain)
        own = tuple(Endpoint(f"{scheme}://{host}", "", True) for scheme in self._schemes(host))
        return (*self._mirrors.get(domain, ()), *own)

    def may_be_plain(self, url: str) -> bool:
        """Whether plain HTTP may be spoken to this URL's host."""
        return "http" in self._schemes(urlsplit(url).netloc)

    def _schemes(self, host: str) -> tuple[str, ...]:
        if host in self._plain_http:
            return ("http",)
        # As docker and containerd have it: nobody listens in on loopback, and registries for tests
        # are there. Everywhere else plain HTTP wants the operator's word.
        return ("http", "https") if is_loopback(host) else ("https",)

    def _parse(self, text: str) -> list[Endpoint]:
        """A mirror as `host[:port][/path]` or as a URL."""
        parts = urlsplit(text if "://" in text else f"//{text}")
        if parts.scheme not in ("", "http", "https") or not parts.hostname or parts.query:
            raise InvalidArgument(
                f"images.mirrors: {text!r} is no mirror: give host[:port][/path] or a URL of it"
            )
        prefix = parts.path.strip("/")
        schemes = (parts.scheme,) if parts.scheme else self._schemes(parts.netloc)
        where = f"{prefix}/" if prefix else ""
        return [Endpoint(f"{scheme}://{parts.netloc}", where, False) for scheme in schemes]


def is_loopback(host: str) -> bool:
    """`localhost`, 127.0.0.0/8 and ::1, with or without a port."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
