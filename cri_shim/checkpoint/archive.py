"""The archive of a checkpoint, as CRI-O and Podman write it and checkpointctl reads it.

checkpoint/         CRIU's images
config.dump         the container that was checkpointed
spec.dump           the OCI document
rootfs-diff.tar     what the container wrote into its root, and
deleted.files       what it took away from its image, as a JSON list
dump.log, stats-dump  CRIU's log and figures, where it wrote them

A pod's archive has pod.dump, and a directory containers/<name> with these for each container.
"""

import json
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cri_shim.model.container import Container
from cri_shim.model.sandbox import Sandbox
from cri_shim.runtime.handler import Handler

IMAGES = "checkpoint"


def describe(
    directory: Path, container: Container, handler: Handler, bundle: Path, upper: Path, now: int
) -> None:
    """Write all but CRIU's own files; `now` in Unix nanoseconds. Blocks."""
    _write_json(
        directory / "config.dump",
        {
            "id": container.id,
            "name": container.name,
            "rootfsImage": container.image_id,
            "rootfsImageRef": container.image_id,
            "rootfsImageName": container.image_name,
            "runtime": handler.kind,
            "createdTime": _time(container.created_at),
            "checkpointedTime": _time(now),
            "restoredTime": _time(0),
            "restored": False,
        },
    )
    (directory / "spec.dump").write_bytes((bundle / "config.json").read_bytes())
    deleted = _pack_difference(directory / "rootfs-diff.tar", upper)
    _write_json(directory / "deleted.files", deleted)


def describe_pod(
    directory: Path, sandbox: Sandbox, containers: Sequence[Container], now: int
) -> None:
    meta = sandbox.spec.metadata
    _write_json(
        directory / "pod.dump",
        {
            "id": sandbox.id,
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "createdTime": _time(sandbox.created_at),
            "checkpointedTime": _time(now),
            "containers": {c.name: c.id for c in containers},
        },
    )


def pack(directory: Path, target: Path) -> None:
    """All files of the directory as a tar at `target`, there whole or not at all. Blocks."""
    # Beside the target, so that the rename stays within a file system. kubelet's directory for
    # checkpoints may be read by others; memory of processes must not be: hence 0600 from the start.
    partial = target.with_name(f".{target.name}.partial")
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
            for entry in sorted(directory.iterdir()):
                tar.add(entry, entry.name)
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _pack_difference(target: Path, upper: Path) -> list[str]:
    """Tar what is in an overlay's upper directory; returns the paths that its whiteouts delete."""
    deleted = []
    with tarfile.open(target, "w") as tar:
        for path in _walk(upper):
            name = str(path.relative_to(upper))
            if _whiteout(path):
                deleted.append(name)
            else:
                tar.add(path, name, recursive=False, filter=partial(_with_attributes, path))
    return deleted


def _with_attributes(path: Path, member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Extended attributes too, as tar programs keep them; those of overlay itself are not its."""
    for name in os.listxattr(path, follow_symlinks=False):
        # Those would make directories of another container opaque, or redirect them.
        if not name.startswith("trusted.overlay."):
            value = os.getxattr(path, name, follow_symlinks=False)
            member.pax_headers = {
                **member.pax_headers,
                f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape"),
            }
    return member


def _walk(directory: Path) -> Iterator[Path]:
    for entry in sorted(directory.iterdir()):
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)


def _whiteout(path: Path) -> bool:
    found = path.lstat()
    # overlayfs(rst): a name that is deleted from a lower layer is a device 0:0 in the upper one.
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n")


def _time(nanoseconds: int) -> str:
    """RFC 3339, as Go writes it."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat().replace("+00:00", "Z")
