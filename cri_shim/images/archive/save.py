"""An image becomes an archive: an OCI layout in a tar, with docker's `manifest.json` beside.

skopeo, podman, ctr and docker read it, each in its own way. Layers stay compressed as pulled.
"""

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from berth.base.errors import AlreadyExists, RuntimeFailure
from cri_shim.images.content.blobs import Blobs
from cri_shim.images.content.records import Layer, StoredImage
from cri_shim.images.document import media
from cri_shim.images.document.manifest import MAX_MANIFEST, Descriptor, Manifest, digest_of, parse


def save_image(
    stored: StoredImage, layers: Sequence[Layer | None], blobs: Blobs, path: Path
) -> None:
    """Write the archive at once: `path` is whole or not there. Blocks, for a thread."""
    if path.exists():
        raise AlreadyExists(f"{path} exists: remove it or choose another name")
    manifest, media_type, sources = _manifest(stored, layers, blobs)
    # Beside the target, as a rename does not cross filesystems.
    draft = path.with_name(f".{path.name}.partial")
    try:
        with tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as archive:
            _add_documents(archive, stored, manifest, media_type, sources)
            for descriptor in {d.digest: d for d in sources}.values():
                _add_blob(archive, descriptor, blobs)
        draft.rename(path)
    except OSError as error:
        raise RuntimeFailure(f"{path} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _manifest(
    stored: StoredImage, layers: Sequence[Layer | None], blobs: Blobs
) -> tuple[bytes, str, list[Descriptor]]:
    """The manifest, and what it names: configuration, then layers.

    A layer that was here already when the image came may have been packed otherwise; then its
    blob stands in, and the manifest is another, while the image's id stays.
    """
    raw = blobs.read(stored.image.manifest, MAX_MANIFEST)
    manifest = parse(raw, stored.manifest_type, f"manifest {stored.image.manifest}")
    assert isinstance(manifest, Manifest)
    present = [
        _source(wanted, layer, blobs) for wanted, layer in zip(manifest.layers, layers, strict=True)
    ]
    # Unchanged where it can be: then its digest, by which others know it, stays.
    if tuple(present) == manifest.layers:
        return raw, manifest.media_type, [manifest.config, *manifest.layers]
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {**manifest.config.to_json(), "mediaType": media.OCI_CONFIG},
        "layers": [{**layer.to_json(), "mediaType": _oci_type(layer)} for layer in present],
    }
    return json.dumps(document).encode(), media.OCI_MANIFEST, [manifest.config, *present]


def _source(wanted: Descriptor, layer: Layer | None, blobs: Blobs) -> Descriptor:
    if blobs.has(wanted):
        return wanted
    if layer is not None and blobs.has(layer.blob):
        return layer.blob
    raise RuntimeFailure(f"blob {wanted.digest} is missing from the store: pull the image again")


def _oci_type(layer: Descriptor) -> str:
    return layer.media_type.replace(media.DOCKER_LAYER, media.OCI_LAYER).replace(".gzip", "+gzip")


def _add_documents(
    archive: tarfile.TarFile,
    stored: StoredImage,
    manifest: bytes,
    media_type: str,
    sources: Sequence[Descriptor],
) -> None:
    tags = list(stored.image.tags)
    # One entry of the index for each tag: an annotation has room for one name.
    top = Descriptor(media_type, digest_of(manifest), len(manifest)).to_json()
    entries = [{**top, "annotations": _annotations(tag)} for tag in tags] or [top]
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}
    config, *layers = sources
    docker = {
        "Config": _blob_name(config),
        "RepoTags": tags,
        "Layers": [_blob_name(layer) for layer in layers],
    }
    # The small ones first: who reads a stream finds out what it is before the layers come.
    _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    _add(archive, "index.json", _json(index))
    _add(archive, "manifest.json", _json([docker]))
    _add(archive, f"blobs/{digest_of(manifest).replace(':', '/')}", manifest)


def _annotations(tag: str) -> dict[str, str]:
    return {
        "io.containerd.image.name": tag,
        "org.opencontainers.image.ref.name": tag.rpartition(":")[2],
    }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _blob_name(descriptor: Descriptor) -> str:
    return "blobs/" + descriptor.digest.replace(":", "/", 1)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(data))


def _add_blob(archive: tarfile.TarFile, descriptor: Descriptor, blobs: Blobs) -> None:
    member = tarfile.TarInfo(_blob_name(descriptor))
    member.mode = 0o644
    with blobs.path(descriptor.digest).open("rb") as file:
        member.size = os.fstat(file.fileno()).st_size
        archive.addfile(member, file)
