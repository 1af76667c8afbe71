"""Images in a layout or an archive: found, named, and brought to where a pull would bring them.

OCI layout   `index.json` → manifests or indexes → blobs by digest (image-spec image-layout.md)
docker save  `manifest.json`: a list of {Config, RepoTags, Layers}, all of them file names
both at once (docker 25 and newer, and what `save` writes here): the OCI part counts
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from berth.base.errors import InvalidArgument
from cri_shim.images.archive.source import Source
from cri_shim.images.document import media
from cri_shim.images.document.manifest import (
    MAX_CONFIG,
    MAX_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    decode_json,
    digest_of,
    parse,
    select,
)
from cri_shim.images.document.platforms import Platform, choose
from cri_shim.images.document.reference import Reference
from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.stream import compression
from cri_shim.model.ids import Digest

_MAX_DEPTH = 4
_NAME_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True)
class Found:
    """One image of a source; `files` says where each blob lies."""

    manifest: Manifest
    config: bytes
    files: Mapping[Digest, str]
    names: tuple[str, ...]
    top: Digest | None
    """Digest of what the names point to; None where the source has no manifest of its own."""


def find_images(source: Source, platform: Platform, what: str) -> list[Found]:
    """All images of a layout or archive that fit the platform; BadImage where there is none."""
    # docker writes both since version 25. The OCI part has digests of what is packed, so that the
    # image keeps the name by digest that it has in its registry.
    if source.has("index.json"):
        found = list(_oci_images(source, platform, what))
    elif source.has("manifest.json"):
        found = list(_docker_images(source, what))
    else:
        raise BadImage(
            f"{what} has neither index.json nor manifest.json: it is no OCI layout, no OCI archive "
            "and no docker archive"
        )
    if not found:
        raise BadImage(f"{what} holds no image")
    return found


def rename(found: list[Found], name: str, what: str) -> list[Found]:
    """Give the only image another name."""
    reference = Reference.parse(name)
    if reference.tagged is None:
        raise InvalidArgument(f"name {name!r} has a digest and no tag: give repository:tag")
    if len(found) != 1:
        raise InvalidArgument(
            f"{what} holds {len(found)} images: load it without a name, they have their own"
        )
    one = found[0]
    return [Found(one.manifest, one.config, one.files, (str(reference),), one.top)]


def _read(source: Source, name: str, limit: int, what: str) -> bytes:
    with source.open(name) as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise BadImage(f"{what}: {name} has more than {limit} bytes")
    return raw


def _blob_file(digest: Digest) -> str:
    return "blobs/" + digest.replace(":", "/", 1)


def _read_blob(source: Source, wanted: Descriptor, limit: int, what: str) -> bytes:
    """A small blob, checked against its descriptor."""
    raw = _read(source, _blob_file(wanted.digest), limit, what)
    # Both: of two documents with one digest there are none, but the size bounds what is read.
    if len(raw) != wanted.size or digest_of(raw, wanted.digest) != wanted.digest:
        raise BadImage(f"{what}: blob {wanted.digest} does not have this digest or its size")
    return raw


def _oci_images(source: Source, platform: Platform, what: str) -> Iterator[Found]:
    raw = _read(source, "index.json", MAX_MANIFEST, what)
    index = parse(raw, media.OCI_INDEX, f"index.json of {what}")
    if not isinstance(index, Index):
        raise BadImage(f"index.json of {what} is no index")
    for entry in _of_this_node(index.manifests, platform, what):
        manifest = _descend(source, entry, platform, what, _MAX_DEPTH)
        config = _read_blob(source, manifest.config, MAX_CONFIG, what)
        files = {layer.digest: _blob_file(layer.digest) for layer in manifest.layers}
        yield Found(manifest, config, files, _names(entry), entry.digest)


def _of_this_node(
    entries: tuple[Descriptor, ...], platform: Platform, what: str
) -> Iterator[Descriptor]:
    """Entries of the same name for several platforms are one image: the fitting one."""
    groups: dict[tuple[str, ...], list[Descriptor]] = {}
    for entry in entries:
        groups.setdefault(_names(entry), []).append(entry)
    for group in groups.values():
        offers = [entry.platform for entry in group if entry.platform is not None]
        # Without platforms on all of them nothing says that they are one image for several.
        if len(group) == 1 or len(offers) < len(group):
            yield from group
        elif choose(offers, platform) is not None:
            yield select(Index(tuple(group)), platform, what)


def _descend(
    source: Source, entry: Descriptor, platform: Platform, what: str, depth: int
) -> Manifest:
    if depth == 0:
        raise BadImage(f"{what}: indexes lie in each other more than {_MAX_DEPTH} deep")
    raw = _read_blob(source, entry, MAX_MANIFEST, what)
    document = parse(raw, entry.media_type, f"{entry.digest} of {what}")
    if isinstance(document, Manifest):
        return document
    chosen = select(document, platform, f"{entry.digest} of {what}")
    return _descend(source, chosen, platform, what, depth - 1)


def _names(entry: Descriptor) -> tuple[str, ...]:
    """Full names by annotation; a bare tag, as many tools write, names nothing."""
    for key in _NAME_KEYS:
        text = str((entry.annotations or {}).get(key, ""))
        # image-spec calls the second annotation a tag ("v1"); skopeo and buildkit write full names
        # into it. A bare tag without a repository would become docker.io/library/v1.
        if "/" in text or ":" in text:
            return (text,)
    return ()


def _docker_images(source: Source, what: str) -> Iterator[Found]:
    # The document is a list, and `decode_json` gives objects alone.
    raw = _read(source, "manifest.json", MAX_MANIFEST, what)
    items = decode_json(b'{"items":' + raw + b"}", f"manifest.json of {what}")["items"]
    for item in items if isinstance(items, list) else [None]:
        fields: dict[str, Any] = item if isinstance(item, dict) else {}
        config, layers = fields.get("Config"), fields.get("Layers")
        tags = fields.get("RepoTags") or []
        if not (isinstance(config, str) and _are_texts(layers) and _are_texts(tags)):
            raise BadImage(f"manifest.json of {what} is not a list of Config, RepoTags and Layers")
        yield _docker_image(source, config, layers, tuple(tags), what)


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _docker_image(
    source: Source, config_file: str, layer_files: list[str], tags: tuple[str, ...], what: str
) -> Found:
    """Write the manifest that the archive lacks. Blocks: every layer is read for its digest.

    The image's id is the digest of the configuration, which is there: it stays what docker showed.
    """
    config = _read(source, config_file, MAX_CONFIG, what)
    described = Descriptor(media.OCI_CONFIG, digest_of(config), len(config))
    layers = [_describe_layer(source, name) for name in layer_files]
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": described.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    manifest = parse(raw, media.OCI_MANIFEST, f"the manifest for {config_file} of {what}")
    assert isinstance(manifest, Manifest)
    files = {layer.digest: name for layer, name in zip(layers, layer_files, strict=True)}
    return Found(manifest, config, files, tags, None)


def _describe_layer(source: Source, name: str) -> Descriptor:
    # The name tells nothing: docker save writes plain tars, others compress them.
    with source.open(name) as file:
        packing = compression(file.read(8))
    content = hashlib.sha256()
    with source.open(name) as file:
        while chunk := file.read(1 << 20):
            content.update(chunk)
    media_type = media.OCI_LAYER + (f"+{packing}" if packing else "")
    return Descriptor(media_type, Digest(f"sha256:{content.hexdigest()}"), source.size(name))
