"""Manifests, indexes and image configurations: JSON from outside becomes checked values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from berth.base.errors import InvalidArgument
from cri_shim.images.document import media
from cri_shim.images.document.platforms import Platform, choose, rank
from cri_shim.images.errors import BadImage
from cri_shim.model.ids import Digest, parse_digest
from cri_shim.model.image import ImageConfig

# What distribution-spec asks registries to take at least, and docker's takes at most.
MAX_MANIFEST = 4 << 20
MAX_CONFIG = 8 << 20
MAX_LAYERS = 500
"""Overlay stacks at most 500 lower directories (fs/overlayfs/params.h OVL_MAX_STACK)."""

T = TypeVar("T")


def digest_of(data: bytes, like: str = "sha256:") -> Digest:
    """The digest of bytes, by the algorithm of `like`."""
    algorithm = like.partition(":")[0]
    return Digest(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")


def decode_json(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object; bytes that are no UTF-8 survive as surrogates (environments hold such)."""
    try:
        value = json.loads(raw.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise BadImage(f"{what} is not JSON: {error}; push or export the image again") from None
    if not isinstance(value, dict):
        raise BadImage(f"{what} is not a JSON object")
    return value


def _get(source: Mapping[str, Any], key: str, kind: type[T], default: T, what: str) -> T:
    """A field of one type; null and absent are the default."""
    value = source.get(key)
    if value is None:
        return default
    # bool is a subclass of int: `true` would be a size of one byte.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise BadImage(f"{what}: {key} is not of type {kind.__name__}")
    return value


def _texts(source: Mapping[str, Any], key: str, what: str) -> tuple[str, ...]:
    items: list[Any] = _get(source, key, list, [], what)
    if not all(isinstance(item, str) for item in items):
        raise BadImage(f"{what}: {key} is not a list of texts")
    try:
        "".join(items).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise BadImage(f"{what}: {key} has half a character (a lone surrogate)") from None
    return tuple(items)


def _text(source: Mapping[str, Any], key: str, what: str) -> str:
    """A text that goes into messages, and so must be UTF-8."""
    text = _get(source, key, str, "", what)
    if _shown(text) != text:
        raise BadImage(f"{what}: {key} is not UTF-8")
    return text


def _mapping(source: Mapping[str, Any], key: str, what: str) -> dict[str, str]:
    """Labels and annotations: decoration, made fit for messages."""
    found: dict[str, Any] = _get(source, key, dict, {}, what)
    return {_shown(name): _shown(str(value)) for name, value in found.items()}


def _shown(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _digest(text: str, what: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidArgument as error:
        raise BadImage(f"{what}: {error}") from None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One content: type, digest, size in bytes; `platform` only in an index."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] | None = None

    @classmethod
    def from_json(cls, source: object, what: str) -> "Descriptor":
        if not isinstance(source, dict):
            raise BadImage(f"{what}: a descriptor is not an object")
        size = _get(source, "size", int, -1, what)
        if size < 0:
            raise BadImage(f"{what}: a descriptor has no size")
        platform: dict[str, Any] = _get(source, "platform", dict, {}, what)
        return cls(
            _get(source, "mediaType", str, "", what),
            _digest(_get(source, "digest", str, "", what), what),
            size,
            _platform(platform, what) if platform else None,
            _mapping(source, "annotations", what) or None,
        )

    def to_json(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def _platform(source: Mapping[str, Any], what: str) -> Platform:
    return Platform(
        _get(source, "os", str, "linux", what),
        _get(source, "architecture", str, "", what),
        _get(source, "variant", str, "", what),
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image for one platform. `raw` is the very bytes, `digest` theirs."""

    raw: bytes
    digest: Digest
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """Everything that the image needs in the content store, itself included."""
        return (self.digest, self.config.digest, *(layer.digest for layer in self.layers))


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests, or further indexes, for several platforms or names."""

    manifests: tuple[Descriptor, ...]


def parse(raw: bytes, media_type: str, what: str) -> Manifest | Index:
    """Read a manifest or an index; BadImage names `what` and the field."""
    if len(raw) > MAX_MANIFEST:
        raise BadImage(f"{what} has {len(raw)} bytes, more than {MAX_MANIFEST}")
    source = decode_json(raw, what)
    kind = _kind(source, media_type, what)
    if kind in media.INDEXES:
        items: list[Any] = _get(source, "manifests", list, [], what)
        return Index(tuple(Descriptor.from_json(item, what) for item in items))
    config = Descriptor.from_json(source.get("config"), f"{what}: config")
    layers: list[Any] = _get(source, "layers", list, [], what)
    manifest = Manifest(
        raw,
        digest_of(raw),
        kind,
        config,
        tuple(Descriptor.from_json(layer, f"{what}: layers") for layer in layers),
        _mapping(source, "annotations", what),
    )
    _check_types(manifest, what)
    return manifest


def _kind(source: Mapping[str, Any], media_type: str, what: str) -> str:
    """The type by the document itself, else by who sent it, else by its shape."""
    # The document's own word comes before the server's, for its digest covers only the one: the
    # same bytes must not be an index from one registry and a manifest from the next
    # (CVE-2021-41190). OCI documents may leave it out, and old tools' layouts do.
    own = _get(source, "mediaType", str, "", what)
    named = own or media_type.partition(";")[0].strip()
    if _get(source, "schemaVersion", int, 2, what) == 1 or named in media.SCHEMA1:
        raise BadImage(
            f"{what} is in the old format (docker schema 1), which has no layer digests to check: "
            "push it again with a current tool"
        )
    if named in media.INDEXES or named in media.MANIFESTS:
        return named
    if not own and "manifests" in source:
        return media.OCI_INDEX
    if not own and "config" in source and "layers" in source:
        return media.OCI_MANIFEST
    raise BadImage(f"{what} has media type {named!r}, which is no container image")


def _check_types(manifest: Manifest, what: str) -> None:
    # The manifest of a Helm chart, a signature or a WASM module is a valid one, too; what tells
    # them apart is the type of the configuration.
    if manifest.config.media_type not in media.CONFIGS:
        raise BadImage(
            f"{what} has a configuration of media type {manifest.config.media_type!r}: "
            "an artifact, not a container image"
        )
    for layer in manifest.layers:
        if layer.media_type not in media.LAYERS:
            raise BadImage(f"{what}: layer {layer.digest} has unknown media type "
                           f"{layer.media_type!r}")  # fmt: skip
    if len(manifest.layers) > MAX_LAYERS:
        raise BadImage(f"{what} has {len(manifest.layers)} layers, more than {MAX_LAYERS}")


def select(index: Index, wanted: Platform, what: str) -> Descriptor:
    """The entry of an index for a platform; entries without one fit only if alone."""
    # buildkit puts attestations beside the images, for the platform unknown/unknown: they fit no
    # node, and are not named in the error either.
    offers = [entry for entry in index.manifests if entry.platform is not None]
    chosen = choose([entry.platform for entry in offers if entry.platform], wanted)
    if chosen is not None:
        return offers[chosen]
    bare = [entry for entry in index.manifests if entry.platform is None]
    if len(bare) == 1 and not offers:
        return bare[0]
    names = sorted({str(e.platform) for e in offers if e.platform and e.platform.os != "unknown"})
    raise BadImage(
        f"{what} has nothing for {wanted}, only for {', '.join(names) or 'no platform'}: "
        "build or choose an image for this node's platform"
    )


@dataclass(frozen=True, slots=True)
class Configuration:
    """The image's configuration document: what to run, and the digests of unpacked layers."""

    platform: Platform
    config: ImageConfig
    diff_ids: tuple[Digest, ...]

    @classmethod
    def parse(cls, raw: bytes, what: str) -> "Configuration":
        source = decode_json(raw, what)
        rootfs: dict[str, Any] = _get(source, "rootfs", dict, {}, what)
        diff_ids = tuple(_digest(text, what) for text in _texts(rootfs, "diff_ids", what))
        inner: dict[str, Any] = _get(source, "config", dict, {}, what)
        return cls(_platform(source, what), _image_config(inner, what), diff_ids)

    def check(self, layers: Sequence[Descriptor], wanted: Platform, what: str) -> None:
        """The configuration must belong to the manifest and run on this node."""
        # Matched by position: with one more or less, layers would be checked against the digests of
        # others.
        if len(self.diff_ids) != len(layers):
            raise BadImage(
                f"{what} names {len(self.diff_ids)} layers and the manifest {len(layers)}"
            )
        # An image with a single manifest has its platform only here. To refuse it at the pull is
        # kinder than "exec format error" from the container.
        if self.platform.architecture and rank(self.platform, wanted) is None:
            raise BadImage(
                f"{what} is for {self.platform} and this node is {wanted}: "
                "build or choose an image for this node's platform"
            )


def _image_config(source: Mapping[str, Any], what: str) -> ImageConfig:
    volumes: dict[str, Any] = _get(source, "Volumes", dict, {}, what)
    return ImageConfig(
        entrypoint=_texts(source, "Entrypoint", what),
        cmd=_texts(source, "Cmd", what),
        env=_texts(source, "Env", what),
        working_dir=_text(source, "WorkingDir", what),
        user=_text(source, "User", what),
        stop_signal=_text(source, "StopSignal", what),
        volumes=tuple(sorted(_shown(path) for path in volumes)),
        labels=_mapping(source, "Labels", what),
    )


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """Identity of each layer on top of those below it (image-spec config.md, "Layer ChainID")."""
    # An unpacked layer is shared by its chain, not by its own digest, since `finish` gives it the
    # metadata of directories below it: over another base it may come out otherwise.
    chains: list[Digest] = []
    for diff in diff_ids:
        below = chains[-1] if chains else None
        chains.append(digest_of(f"{below} {diff}".encode()) if below else diff)
    return tuple(chains)
