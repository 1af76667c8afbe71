"""What is written down of images and layers, and read again at the next start."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from cri_shim.images.document.manifest import Descriptor
from cri_shim.model.ids import Digest, ImageId
from cri_shim.model.image import Image, ImageConfig

_DIRECTORY = "folder"


# A Protocol, since the store is no layer below this one: the daemon passes tables of it in.
class RecordTable(Protocol):
    """A table of JSON documents by key; the store has one for each kind."""

    def put(self, key: str, document: dict[str, Any], durable: bool = False) -> None: ...

    def delete(self, key: str) -> None: ...

    def all(self) -> dict[str, dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Layer:
    """An unpacked layer in `layers/<directory>`, known by its chain id.

    `size` in bytes of regular files; `blob` is where it came from; `opaque`: hides all below.
    """

    chain: Digest
    diff: Digest
    directory: str
    size: int
    inodes: int
    blob: Descriptor
    opaque: bool = False

    def to_document(self) -> dict[str, Any]:
        document = {**asdict(self), "blob": self.blob.to_json()}
        # The name on disk since the first version: an older cri-shim reads it, too.
        document[_DIRECTORY] = document.pop("directory")
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Layer":
        fields = dict(document)
        fields["directory"] = fields.pop(_DIRECTORY)
        blob = Descriptor.from_json(document["blob"], f"record of layer {document['chain']}")
        return cls(**{**fields, "blob": blob})


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image and the blobs that it names: manifest, configuration, layers as pushed."""

    image: Image
    manifest_type: str
    sizes: Mapping[Digest, int]
    """Bytes of each stored blob that the image names."""

    @property
    def blobs(self) -> tuple[Digest, ...]:
        return tuple(self.sizes)

    def renamed(self, tags: tuple[str, ...], digests: tuple[str, ...]) -> "StoredImage":
        return replace(self, image=replace(self.image, tags=tags, digests=digests))

    def to_document(self) -> dict[str, Any]:
        # By name and not by asdict(): a field that is added for the running daemon alone must not
        # change what is on disk by itself.
        image = {
            field: _plain(getattr(self.image, field))
            for field in ("id", "tags", "digests", "size", "layers", "manifest", "pinned")
        }
        config = {
            field: _plain(getattr(self.image.config, field))
            for field in ImageConfig.__dataclass_fields__
        }
        return {
            **image,
            "config": config,
            "annotations": dict(self.image.annotations),
            "manifest_type": self.manifest_type,
            "blobs": dict(self.sizes),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "StoredImage":
        fields: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in document["config"].items()
        }
        config = ImageConfig(**fields)
        image = Image(
            id=ImageId(document["id"]),
            tags=tuple(document["tags"]),
            digests=tuple(document["digests"]),
            size=document["size"],
            config=config,
            layers=tuple(Digest(chain) for chain in document["layers"]),
            manifest=Digest(document["manifest"]),
            pinned=document["pinned"],
            annotations=document["annotations"],
        )
        return cls(image, document["manifest_type"], document["blobs"])


def _plain(value: Any) -> Any:
    """Tuples as lists, mappings as dicts: what JSON has."""
    match value:
        case tuple():
            return list(value)
        case Mapping():
            return dict(value)
        case _:
            return value
