"""Images made in Python from lists of members: layers, configuration, manifest, index, archives."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def member(
    name: str,
    data: bytes = b"",
    *,
    kind: bytes = tarfile.REGTYPE,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: float = 1_600_000_000,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a layer; xattr values with bytes above 127 as surrogates."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = kind, mode, uid, gid
    info.mtime, info.linkname, info.size = mtime, link, len(data)
    info.devmajor, info.devminor = device
    info.pax_headers = {f"SCHILY.xattr.{k}": v for k, v in (xattrs or {}).items()}
    return info, data


def directory(name: str, mode: int = 0o755, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.DIRTYPE, mode=mode, **more)


def symlink(name: str, target: str, **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.SYMTYPE, link=target, mode=0o777, **more)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, kind=tarfile.LNKTYPE, link=target)


def tar(members: Sequence[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An uncompressed archive of the members in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@dataclass
class Layer:
    """A layer: `tar` uncompressed, `blob` as stored, `packing` of gzip, zstd and ``."""

    tar: bytes
    packing: str = "gzip"
    media_type: str = ""
    blob: bytes = b""

    def __post_init__(self) -> None:
        if not self.blob:
            self.blob = compress(self.tar, self.packing)
        if not self.media_type:
            self.media_type = OCI_LAYER + (f"+{self.packing}" if self.packing else "")

    @classmethod
    def of(cls, *members: tuple[tarfile.TarInfo, bytes], packing: str = "gzip") -> "Layer":
        return cls(tar(members), packing)


def compress(data: bytes, packing: str) -> bytes:
    match packing:
        case "gzip":
            return gzip.compress(data, 6, mtime=0)
        case "zstd":
            return zstandard.ZstdCompressor().compress(data)
        case _:
            return data


@dataclass
class BuiltImage:
    """An image with all its blobs by digest; fields may be changed before `build`."""

    layers: list[Layer]
    config: dict[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    os: str = "linux"
    variant: str = ""
    docker: bool = False

    def __post_init__(self) -> None:
        self.build()

    def build(self) -> None:
        document: dict[str, Any] = {
            "architecture": self.architecture,
            "os": self.os,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(layer.tar) for layer in self.layers]},
        }
        if self.variant:
            document["variant"] = self.variant
        self.use_config(json.dumps(document).encode())

    def use_config(self, raw: bytes) -> None:
        """Take these bytes as the configuration document and make the manifest for them."""
        self.raw_config = raw
        kinds = (DOCKER_MANIFEST, DOCKER_CONFIG) if self.docker else (OCI_MANIFEST, OCI_CONFIG)
        document = {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": descriptor(kinds[1], raw),
            "layers": [descriptor(layer.media_type, layer.blob) for layer in self.layers],
        }
        self.use_manifest(json.dumps(document).encode(), kinds[0])

    def use_manifest(self, raw: bytes, media_type: str = OCI_MANIFEST) -> None:
        self.raw_manifest = raw
        self.media_type = media_type

    @property
    def id(self) -> str:
        return digest(self.raw_config)

    @property
    def digest(self) -> str:
        return digest(self.raw_manifest)

    @property
    def blobs(self) -> dict[str, bytes]:
        return {digest(data): data for data in (self.raw_config, *(x.blob for x in self.layers))}

    def described(self, **annotations: str) -> dict[str, Any]:
        """The manifest's descriptor with its platform, for an index."""
        platform = {"os": self.os, "architecture": self.architecture}
        if self.variant:
            platform["variant"] = self.variant
        found = descriptor(self.media_type, self.raw_manifest) | {"platform": platform}
        return found | ({"annotations": annotations} if annotations else {})


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def index(entries: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}
    ).encode()


def layout_files(
    images: Sequence[BuiltImage], entries: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, bytes]:
    """The files of an OCI layout; `entries` of its index where they are not the plain ones."""
    if entries is None:
        entries = [image.described() for image in images]
    files = {
        "oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode(),
        "index.json": index(entries),
    }
    for image in images:
        for name, data in {**image.blobs, image.digest: image.raw_manifest}.items():
            files["blobs/" + name.replace(":", "/")] = data
    return files


def docker_files(images: Mapping[str, BuiltImage]) -> dict[str, bytes]:
    """The files of a docker archive with one image a name; layers uncompressed."""
    files: dict[str, bytes] = {}
    items = []
    for name, image in images.items():
        config = image.id.removeprefix("sha256:") + ".json"
        files[config] = image.raw_config
        names = []
        for layer in image.layers:
            names.append(digest(layer.tar).removeprefix("sha256:") + "/layer.tar")
            files[names[-1]] = layer.tar
        items.append({"Config": config, "RepoTags": [name], "Layers": names})
    files["manifest.json"] = json.dumps(items).encode()
    return files


def write_directory(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def write_archive(path: Path, files: Mapping[str, bytes]) -> Path:
    path.write_bytes(tar([member(name, data) for name, data in files.items()]))
    return path
