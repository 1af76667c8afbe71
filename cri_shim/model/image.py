"""An image as the store knows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cri_shim.model.ids import Digest, ImageId
from cri_shim.model.resources import EMPTY


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says of how to run it; bytes in `env` need not be UTF-8 (surrogateescape)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Image:
    """One image. `size` in bytes, unpacked; `layers` are chain ids from the base up.

    `tags` are full names with tag (`docker.io/library/busybox:1.36`), `digests` full names with
    digest (`docker.io/library/busybox@sha256:…`).
    """

    id: ImageId
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    config: ImageConfig
    layers: tuple[Digest, ...]
    manifest: Digest
    pinned: bool = False
    annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)
