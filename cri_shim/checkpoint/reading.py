"""Reading the archive of a pod's checkpoint, which is as hostile as any.

Only plain files and directories come out of it, below a directory of ours. What is missing is
named.
"""

import json
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from berth.base.errors import InvalidArgument
from berth.linux import files
from cri_shim.checkpoint.archive import IMAGES
from cri_shim.model.ids import check_path

FIELD = "checkpoint_path"
_PARTS = ("config.dump", "spec.dump", "rootfs-diff.tar", "deleted.files")


def unpack(archive: Path, directory: Path) -> None:
    """All of the archive into the empty directory. Blocks."""
    try:
        # "r:" reads no compression: a bomb would be unpacked before anything can be checked.
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                _take_out(tar, member, directory)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise _bad(archive, f"it is not a whole tar archive ({error})") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _bad(archive, "two of its members have one name") from error


def _take_out(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    name = check_path(member.name, f"a member of {FIELD}")
    # No links and no devices: a later member could be written through the first, and root would
    # make the second. No sparse files: a few bytes of one can stand for terabytes.
    plain = member.isdir() or (member.isreg() and not member.issparse())
    if not plain or not _inside(name):
        raise _bad(Path(str(tar.name)), f"{name!r} is not a plain file or directory inside of it")
    target = directory / name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    source = tar.extractfile(member)
    assert source is not None
    # "x": a name that comes twice is refused, or the second would replace what was checked.
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file)


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def containers(archive: Path, directory: Path) -> dict[str, str]:
    """The image id of each container in the archive, which has all that a restore needs. Blocks."""
    described = _document(archive, directory, "pod.dump")
    names = described.get("containers") if isinstance(described, dict) else None
    if not isinstance(names, dict) or not names:
        raise _bad(archive, "pod.dump names no containers")
    return {name: _container(archive, directory, name) for name in names}


def _container(archive: Path, directory: Path, name: str) -> str:
    """The image id of one container."""
    if not _inside(name) or "/" in name:
        raise _bad(archive, f"pod.dump: {name!r} is not the name of a container")
    within = f"containers/{name}"
    missing = [f for f in _PARTS if not (directory / within / f).is_file()]
    if not (directory / within / IMAGES).is_dir():
        missing.append(IMAGES)
    if missing:
        raise _bad(archive, f"{within} has no {missing[0]}")
    deleted_name = f"{within}/deleted.files"
    _check_deleted(archive, deleted_name, _document(archive, directory, deleted_name))
    config = _document(archive, directory, f"{within}/config.dump")
    if not isinstance(config, dict) or not isinstance(config.get("rootfsImage"), str):
        raise _bad(archive, f"{within}/config.dump has no rootfsImage")
    return str(config["rootfsImage"])


def _check_deleted(archive: Path, name: str, paths: Any) -> None:
    if not isinstance(paths, list) or not all(isinstance(p, str) for p in paths):
        raise _bad(archive, f"{name} is not a list of paths")
    if outside := [p for p in paths if not _inside(p) or "\0" in p]:
        raise _bad(archive, f"{name}: {outside[0]!r} is not a path inside")


def deleted(part: Path) -> list[str]:
    """Paths that a container had taken away from its image, as `containers` has checked them."""
    return [str(name) for name in json.loads((part / "deleted.files").read_bytes())]


def _document(archive: Path, directory: Path, name: str) -> Any:
    data = files.read_bytes(directory / name)
    if data is None:
        raise _bad(archive, f"it has no {name}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # brackets nested by the thousand
        raise _bad(archive, f"{name} is not JSON ({error})") from error


def _bad(archive: Path, why: str) -> InvalidArgument:
    return InvalidArgument(f"{FIELD} {archive}: {why}: give an archive of CheckpointPod")
