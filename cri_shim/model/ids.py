"""Ids and other checked strings."""

import re
from typing import NewType

from berth.base.errors import InvalidArgument

SandboxId = NewType("SandboxId", str)
ContainerId = NewType("ContainerId", str)
ImageId = NewType("ImageId", str)
"""Digest of the image configuration, `sha256:` and 64 hex digits."""
Digest = NewType("Digest", str)
"""`algorithm:hex`; algorithm is sha256 or sha512."""

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
