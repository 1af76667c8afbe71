"""Image references: the grammar of the reference implementation (distribution/reference).

    reference  := name [ ":" tag ] [ "@" digest ]
    name       := [ domain "/" ] component *( "/" component )
    component  := alnum *( separator alnum )        separator := "." | "_" | "__" | "-"+
    tag        := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}

The first component is a domain if it has a dot or a colon, is `localhost`, or has a capital
letter; otherwise the domain is docker.io, and there a single component lies in `library/`.
"""

import re
from dataclasses import dataclass

from berth.base.errors import InvalidArgument
from cri_shim.model.ids import Digest, parse_digest

DEFAULT_DOMAIN = "docker.io"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_HEX64 = re.compile(r"[0-9a-f]{64}\Z")
_MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference: at least one of `tag` and `digest` is set."""

    domain: str
    path: str
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read and normalise; without tag and digest the tag is `latest`.

        Raises InvalidArgument naming the text, the part that is wrong and what would be right.
        """
        rest, _, digest_text = text.partition("@")
        digest = _digest(digest_text, text) if "@" in text else None
        name, tag = _split_tag(rest, text)
        domain, path = _split_domain(name)
        _check_name(domain, path, text)
        # Only without a digest: `app@sha256:…` names one image, and no tag has to move for it.
        if tag is None and digest is None:
            tag = "latest"
        return cls(domain, path, tag, digest)

    @property
    def name(self) -> str:
        """`docker.io/library/busybox`."""
        return f"{self.domain}/{self.path}"

    @property
    def tagged(self) -> str | None:
        """`name:tag`, or None where there is no tag."""
        return f"{self.name}:{self.tag}" if self.tag else None

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag or "latest"

    def at(self, digest: Digest) -> str:
        """`name@digest`."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def _refuse(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"image reference {text!r}: {why}")


def _digest(digest: str, text: str) -> Digest:
    try:
        return parse_digest(digest)
    except InvalidArgument as error:
        raise _refuse(text, str(error)) from None


def _split_tag(rest: str, text: str) -> tuple[str, str | None]:
    """A colon after the last slash starts the tag (before it, a port)."""
    # localhost:5000/app has no tag; and no tag has a slash in it.
    colon = rest.rfind(":")
    if colon <= rest.rfind("/"):
        return rest, None
    tag = rest[colon + 1 :]
    if not _TAG.match(tag):
        raise _refuse(text, f"tag {tag!r} is not 1 to 128 of letters, digits, '_', '.' and '-'")
    return rest[:colon], tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    is_domain = slash and (
        "." in first or ":" in first or first == "localhost" or first != first.lower()
    )
    domain, path = (first, rest) if is_domain else (DEFAULT_DOMAIN, name)
    # Names that docker made ten years ago still come in pod specs; they mean the same image.
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _check_name(domain: str, path: str, text: str) -> None:
    if not text or not path or path == "library/":
        raise _refuse(text, "the name is empty: give [registry/]repository[:tag][@digest]")
    if not _DOMAIN.match(domain):
        raise _refuse(text, f"registry {domain!r} is not host[:port]")
    if path != path.lower():
        raise _refuse(text, f"repository names are lower case: {path.lower()!r}")
    if not _PATH.match(path):
        raise _refuse(
            text, f"repository {path!r} may have a-z, 0-9 and single '.', '_', '-' inside, by '/'"
        )
    if len(f"{domain}/{path}") > _MAX_NAME:
        raise _refuse(text, f"the name is longer than {_MAX_NAME} characters")
    # kubelet asks for images by id as well: `sha256:` left out, such a name would be both.
    if domain == DEFAULT_DOMAIN and _HEX64.match(path.removeprefix("library/")):
        raise _refuse(text, "64 hex digits are an image id, not a name")


_ID = re.compile(r"(?:sha256:)?([0-9a-f]{64})\Z")
_SHORT_ID = re.compile(r"(?:sha256:)?([0-9a-f]{6,63})\Z")


def parse_id(text: str) -> str | None:
    """The `sha256:…` id that a text spells in full, else None."""
    match = _ID.match(text)
    return f"sha256:{match[1]}" if match else None


def short_id(text: str) -> str | None:
    """`sha256:` and the 6 to 63 hex digits that a text gives of an id, else None."""
    match = _SHORT_ID.match(text)
    return f"sha256:{match[1]}" if match else None
