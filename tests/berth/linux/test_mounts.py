"""Mounts for real, in our own mount table; each test takes its mounts away."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.linux import mounts, namespaces, overlayfs, syscalls
from berth.linux.mounts import Attribute, Flag
from berth.linux.syscalls import Config
from tests.support.mounts import make_shared, make_slave, unmount_all


def _names(directory: Path | str) -> list[str]:
    return sorted(entry.name for entry in Path(directory).iterdir())


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    yield
    unmount_all(tmp_path)
    assert mounts.mounts_below(tmp_path) == []


def _directories(base: Path, *names: str) -> list[Path]:
    for name in names:
        (base / name).mkdir()
    return [base / name for name in names]


def test_bind_and_unmount_with_odd_names(tmp_path: Path) -> None:
    source, target = _directories(tmp_path, "a b\\c", "t\n#ü")
    (source / "file").touch()
    mounts.bind(source, target)
    assert (target / "file").exists()
    assert mounts.mount_of(target / "file").target == str(target)
    assert mounts.exists_at(target)
    assert mounts.unmount(target)
    assert not mounts.unmount(target)
    assert not mounts.unmount(tmp_path / "none")


def test_bind_names_both_paths(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        mounts.bind(tmp_path / "none", tmp_path)
    assert caught.value.filename == str(tmp_path / "none")
    assert caught.value.filename2 == str(tmp_path)


def test_remount_read_only(tmp_path: Path) -> None:
    source, target = _directories(tmp_path, "source", "target")
    mounts.bind(source, target)
    mounts.remount(target, Flag.BIND | Flag.RDONLY | Flag.NOSUID)
    assert {"ro", "nosuid"} <= mounts.mount_of(target).options
    with pytest.raises(OSError) as caught:
        (target / "file").touch()
    assert caught.value.errno == errno.EROFS
    (source / "file").touch()


def test_tmpfs_with_size_and_mode(tmp_path: Path) -> None:
    mounts.tmpfs(tmp_path, 1 << 20, 0o1777, source="shm")
    point = mounts.mount_of(tmp_path)
    assert (point.fstype, point.source) == ("tmpfs", "shm")
    assert "size=1024k" in point.super_options
    assert {"nosuid", "nodev", "noexec"} <= point.options
    assert tmp_path.stat().st_mode & 0o7777 == 0o1777


def test_propagation_is_read_and_set(tmp_path: Path) -> None:
    (peer, shared) = _directories(tmp_path, "peer", "shared")
    mounts.tmpfs(shared, 0)
    make_shared(shared)
    mounts.bind(shared, peer)
    assert mounts.mount_of(shared).shared
    make_slave(peer)
    point = mounts.mount_of(peer)
    assert point.slave
    assert not point.shared
    mounts.make_private(peer)
    assert mounts.mount_of(peer).propagation == ()


def test_recursive_read_only_of_a_detached_tree(tmp_path: Path) -> None:
    source, target = _directories(tmp_path, "source", "target")
    (source / "inner").mkdir()
    mounts.tmpfs(source / "inner", 0)
    tree = mounts.clone_tree(source)
    mounts.set_attr(tree, on=Attribute.RDONLY | Attribute.NODEV, recursive=True)
    mounts.attach(tree, target)
    os.close(tree)
    for place in (target, target / "inner"):
        assert mounts.mount_of(place).readonly
    assert not mounts.mount_of(source / "inner").readonly
    mounts.set_attr(target, off=Attribute.RDONLY)
    assert not mounts.mount_of(target).readonly


class _Range:
    def __init__(self, container_id: int, host_id: int, length: int) -> None:
        self.container_id = container_id
        self.host_id = host_id
        self.length = length


def test_idmapped_mount_shifts_owners(tmp_path: Path) -> None:
    source, target, ns = _directories(tmp_path, "source", "target", "ns")
    mounts.tmpfs(source, 0)
    (source / "file").touch()
    ids = [_Range(0, 100_000, 65_536)]
    user = namespaces.pin_user(ids, ids, ns)
    tree = mounts.clone_tree(source)
    fd = os.open(user, os.O_RDONLY)
    mounts.set_attr(tree, on=Attribute.IDMAP, userns_fd=fd)
    mounts.attach(tree, target)
    os.close(fd)
    os.close(tree)
    assert (target / "file").stat().st_uid == 100_000
    namespaces.unpin(user)


def test_unmount_all_takes_stacked_and_busy_ones(tmp_path: Path) -> None:
    (target,) = _directories(tmp_path, "target")
    mounts.tmpfs(target, 0)
    mounts.tmpfs(target, 0)
    (target / "inner").mkdir()
    mounts.tmpfs(target / "inner", 0)
    with open(target / "inner" / "held", "w"):
        with pytest.raises(OSError) as caught:
            mounts.unmount(target / "inner")
        assert caught.value.errno == errno.EBUSY
        unmount_all(target)
    assert not mounts.exists_at(target)


def _layers(base: Path, *names: str) -> list[str]:
    for directory in _directories(base, *names):
        (directory / f"from-{directory.name[:8]}").touch()
    return [str(base / name) for name in names]


@pytest.mark.parametrize("old", [False, True])
def test_overlay_of_layers_with_odd_names(tmp_path: Path, old: bool) -> None:
    lowers = _layers(tmp_path, "top:a,b", "base\\c")
    upper, work, target = map(str, _directories(tmp_path, "up:per", "work", "target"))
    if old:
        settings = overlayfs._settings(upper, work, True, ["index=off"])
        overlayfs._mount_old(lowers, settings, target, writable=True)
    else:
        mounts.overlay(lowers, upper, work, target, options=["index=off"])
    assert _names(target) == ["from-base\\c", "from-top:a,b"]
    Path(target, "new").touch()
    assert _names(upper) == ["new"]


@pytest.mark.parametrize("collects", [True, False])
def test_overlay_on_a_kernel_without_layers_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collects: bool
) -> None:
    """Before Linux 6.5 the unknown key is refused at the end only, up to 6.7 at once."""
    real = syscalls.fsconfig

    def fsconfig(context: int, command: Config, key: str | None, value: str | None) -> None:
        if command is Config.CMD_CREATE or (key == "lowerdir+" and not collects):
            raise OSError(errno.EINVAL, "Invalid argument")
        if not collects:
            real(context, command, key, value)

    monkeypatch.setattr(syscalls, "fsconfig", fsconfig)
    lowers = _layers(tmp_path, "one", "two")
    (target,) = map(str, _directories(tmp_path, "target"))
    mounts.overlay(lowers, None, None, target)
    assert _names(target) == ["from-one", "from-two"]


def test_overlay_without_upper_is_read_only(tmp_path: Path) -> None:
    lowers = _layers(tmp_path, "one", "two")
    (target,) = map(str, _directories(tmp_path, "target"))
    mounts.overlay(lowers, None, None, target)
    with pytest.raises(OSError) as caught:
        Path(target, "new").touch()
    assert caught.value.errno == errno.EROFS


def test_overlay_of_more_layers_than_a_page_of_options(tmp_path: Path) -> None:
    """100 layers with names of 60 letters do not fit into the old call's page."""
    lowers = _layers(tmp_path, *(f"{n:03}" + "x" * 57 for n in range(100)))
    (target,) = map(str, _directories(tmp_path, "target"))
    with pytest.raises(OSError, match=r"100 layers needs \d+ bytes.*6.8") as caught:
        overlayfs._mount_old(lowers, [], target, writable=False)
    assert caught.value.errno == errno.E2BIG
    mounts.overlay(lowers, None, None, target)
    assert len(_names(target)) == 100


def test_overlay_of_a_layer_with_a_very_long_path(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 150) / ("y" * 150)
    deep.mkdir(parents=True)
    lowers = _layers(deep, "layer", "other")
    (target,) = map(str, _directories(tmp_path, "target"))
    mounts.overlay(lowers, None, None, target)
    assert _names(target) == ["from-layer", "from-other"]


def test_overlay_says_why_not(tmp_path: Path) -> None:
    (target, upper) = map(str, _directories(tmp_path, "target", "upper"))
    with pytest.raises(FileNotFoundError, match="absent"):
        mounts.overlay([str(tmp_path / "absent")], None, None, target)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="is not a directory"):
        mounts.overlay([target], upper, str(tmp_path / "file"), target)
    with pytest.raises(ValueError, match="work directory"):
        mounts.overlay([target], upper, None, target)


def test_mountinfo_line_with_everything() -> None:
    text = (
        "36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime shared:7 master:1 unbindable - "
        "ext3 /dev/root\\011a rw,errors=continue\n"
        "37 35 0:5 / /proc ro - proc  rw\n"
    )
    point, plain = mounts.parse(text)
    assert (point.id, point.parent, point.device, point.root) == (36, 35, "98:0", "/mnt1")
    assert point.target == "/mnt 2\\x"
    assert point.source == "/dev/root\ta"
    assert point.propagation == ("shared:7", "master:1", "unbindable")
    assert point.shared
    assert point.slave
    assert plain.readonly
    assert plain.propagation == ()
    assert plain.source == ""
