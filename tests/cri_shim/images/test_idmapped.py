"""Directories as a user namespace sees them, on real filesystems."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.linux import mounts, namespaces
from cri_shim.images.snapshot.idmapped import drop, idmapped, supported
from cri_shim.model.namespaces import IdMapping
from tests.support.mounts import filesystem

FIRST_ID = 400000


@pytest.fixture
def userns(tmp_path: Path) -> Iterator[Path]:
    ids = (IdMapping(container_id=0, host_id=FIRST_ID, length=65536),)
    path = namespaces.pin_user(ids, ids, tmp_path)
    yield path
    namespaces.unpin(path)


def test_owners_are_mapped_while_it_lasts(tmp_path: Path, userns: Path) -> None:
    layers = [tmp_path / "upper", tmp_path / "below"]
    for layer in layers:
        layer.mkdir()
        (layer / "file").write_text(layer.name)
    with idmapped([str(layer) for layer in layers], userns, tmp_path) as copies:
        found = [Path(copy, "file") for copy in copies]
        assert [path.read_text() for path in found] == ["upper", "below"]
        assert [path.stat().st_uid for path in found] == [FIRST_ID, FIRST_ID]
    assert (layers[0] / "file").stat().st_uid == 0
    assert mounts.mounts_below(tmp_path / "lower") == []
    assert not (tmp_path / "lower").exists()


def test_what_a_crash_left_goes_away(tmp_path: Path) -> None:
    left = tmp_path / "lower" / "0"
    left.mkdir(parents=True)
    mounts.bind(tmp_path, left)
    drop(tmp_path)
    drop(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_filesystem_that_cannot(tmp_path: Path) -> None:
    assert supported(tmp_path)
    filesystem("none", tmp_path, "ramfs")
    try:
        assert not supported(tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        mounts.unmount(tmp_path)
    assert list(tmp_path.iterdir()) == []
