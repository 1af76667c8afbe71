"""Ids, and the checks of other strings that come from outside."""

import re
from typing import NewType

from berth.base.errors import InvalidArgument

SandboxId = NewType("SandboxId", str)
ContainerId = NewType("ContainerId", str)
ImageId = NewType("ImageId", str)
"""Digest of the image configuration, `sha256:` and 64 hex digits."""
Digest = NewType("Digest", str)
"""`algorithm:hex`; algorithm is sha256 or sha512."""

LONGEST_NAME = 255
"""Bytes of one name in a path (limits.h, NAME_MAX)."""
LONGEST_PATH = 4095
"""Bytes of a path (limits.h, PATH_MAX, which counts the closing NUL)."""

_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")


def new_id(entropy: bytes) -> str:
    """64 hex digits from 32 random bytes."""
    if len(entropy) != 32:
        raise ValueError(f"an id needs 32 bytes of entropy, got {len(entropy)}")
    return entropy.hex()


def parse_digest(text: str) -> Digest:
    """Check a digest; raise InvalidArgument naming it."""
    if not _DIGEST.match(text):
        raise InvalidArgument(
            f"digest {text!r} is not sha256:<64 hex digits> or sha512:<128 hex digits>"
        )
    return Digest(text)


def check_text(text: str, where: str) -> str:
    """Refuse NUL bytes, which no kernel path or argument can carry; return the text unchanged."""
    if "\0" in text:
        raise InvalidArgument(f"{where} has a NUL byte")
    return text


def check_path(text: str, where: str) -> str:
    """Refuse what no file can be called; return the text unchanged.

    Here, since the kernel's ENAMETOOLONG would come from the middle of a create and name no field.
    """
    data = check_text(text, where).encode("utf-8", "surrogateescape")
    if len(data) > LONGEST_PATH:
        raise InvalidArgument(f"{where} is longer than {LONGEST_PATH} bytes")
    if any(len(name) > LONGEST_NAME for name in data.split(b"/")):
        raise InvalidArgument(f"{where} has a name longer than {LONGEST_NAME} bytes")
    return text
