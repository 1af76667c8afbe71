"""Files of the host floor: replaced whole, opened below a root, trees removed without straying."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.linux import mounts
from berth.linux.files import atomic_write, open_beneath, read_text, remove_tree, safe_join


def _names(directory: Path | str) -> list[str]:
    return sorted(entry.name for entry in Path(directory).iterdir())


def test_atomic_write_replaces_and_leaves_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "record"
    atomic_write(target, b"one")
    atomic_write(target, b"two", mode=0o644, durable=False)
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o644
    assert _names(tmp_path) == ["record"]


def test_atomic_write_that_fails_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "directory"
    target.mkdir()
    (target / "inside").touch()
    with pytest.raises(OSError):
        atomic_write(target, b"a file cannot replace a directory")
    assert _names(tmp_path) == ["directory"]


def test_read_text_of_what_is_gone(tmp_path: Path) -> None:
    assert read_text(tmp_path / "none") is None
    assert read_text(tmp_path / "none" / "deeper") is None
    (tmp_path / "bytes").write_bytes(b"caf\xe9")
    assert (read_text(tmp_path / "bytes") or "").encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    """A root with links that try to leave it; `secret` lies outside."""
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "secret").write_text("inside")
    (root / "up").symlink_to("../secret")
    (root / "absolute").symlink_to("/secret")
    (root / "loop").symlink_to("loop")
    (root / "etc" / "climb").symlink_to("../../../secret")
    (root / "proc").symlink_to("/proc/self/root")
    return root


@pytest.mark.parametrize("path", ["up", "absolute", "etc/climb", "../../secret", "/secret"])
def test_every_way_leads_into_the_root(jail: Path, path: str) -> None:
    assert safe_join(jail, path).read_text() == "inside"
    root = os.open(jail, os.O_RDONLY)
    try:
        fd = open_beneath(root, path, os.O_RDONLY)
        assert os.read(fd, 99) == b"inside"
        os.close(fd)
        with pytest.raises(OSError, match=path) as caught:
            open_beneath(root, path, os.O_RDONLY, in_root=False)
        assert caught.value.errno == errno.EXDEV
    finally:
        os.close(root)


def test_open_beneath_creates_and_refuses_magic_links(jail: Path) -> None:
    root = os.open(jail, os.O_RDONLY)
    proc = os.open("/proc/self", os.O_RDONLY)
    try:
        os.close(open_beneath(root, "etc/new", os.O_WRONLY | os.O_CREAT, 0o640))
        with pytest.raises(OSError) as caught:
            open_beneath(proc, "root", os.O_RDONLY)
    finally:
        os.close(root)
        os.close(proc)
    assert (jail / "etc/new").stat().st_mode & 0o777 == 0o640
    assert caught.value.errno == errno.ELOOP


def test_safe_join_of_loops_and_missing_parts(jail: Path) -> None:
    with pytest.raises(OSError, match="loop") as caught:
        safe_join(jail, "loop")
    assert caught.value.errno == errno.ELOOP
    assert safe_join(jail, "none/../etc/./later") == jail / "etc/later"
    assert safe_join(jail, "secret/below") == jail / "secret/below"


@given(st.lists(st.sampled_from(["a", "..", ".", "", "up", "absolute", "x"]), max_size=8))
def test_safe_join_never_leaves_the_root(parts: list[str]) -> None:
    root = Path("/nonexistent-root-of-the-test")
    joined = safe_join(root, "/".join(parts))
    assert joined == root or root in joined.parents
    assert ".." not in joined.parts


def test_remove_tree_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "link").symlink_to(outside)
    (tree / "deep" / "file").touch()
    link = tmp_path / "link"
    link.symlink_to(outside)
    for path in (tree, link, tmp_path / "none", tmp_path / "none/deeper"):
        remove_tree(path)
    assert _names(tmp_path) == ["outside"]
    assert _names(outside) == ["kept"]


def test_remove_tree_stops_at_a_mount(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    tree = tmp_path / "tree"
    (tree / "sub" / "mount").mkdir(parents=True)
    mounts.bind(kept, tree / "sub" / "mount")
    try:
        with pytest.raises(OSError, match="tree/sub/mount") as caught:
            remove_tree(tree)
        assert caught.value.errno == errno.EXDEV
        with pytest.raises(OSError, match="mount"):
            remove_tree(tree / "sub" / "mount")
        assert _names(kept) == ["file"]
    finally:
        mounts.unmount(tree / "sub" / "mount")
    remove_tree(tree)
    assert not tree.exists()


def test_remove_tree_deeper_than_any_path(tmp_path: Path) -> None:
    """Names of 200 letters nested 100 deep make a path that no call takes at once."""
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(100):
        os.mkdir("x" * 200, dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    remove_tree(top)
    assert _names(tmp_path) == []
