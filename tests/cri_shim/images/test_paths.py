"""No archive writes outside of its directory: names, links and replacements at random."""

import contextlib
import os
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.beneath import clean
from tests.cri_shim.images.test_unpack import unpack
from tests.support.image import directory, hard_link, member, symlink, tar

_part = st.sampled_from(["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "outside", "layer"])
_path = st.lists(_part, min_size=1, max_size=5).map("/".join)
_target = st.one_of(
    _path,
    _path.map(lambda path: "/" + path),
    st.just("@OUTSIDE@"),
    st.just("../outside"),
    st.just("../../outside"),
)
Members = list[tuple[tarfile.TarInfo, bytes]]
_entry = st.one_of(
    st.tuples(st.just("file"), _path, _path),
    st.tuples(st.just("directory"), _path, _path),
    st.tuples(st.just("symlink"), _path, _target),
    st.tuples(st.just("hard link"), _path, _target),
)


def _member(kind: str, path: str, target: str, outside: str) -> tuple[tarfile.TarInfo, bytes]:
    target = target.replace("@OUTSIDE@", outside)
    match kind:
        case "directory":
            return directory(path)
        case "symlink":
            return symlink(path, target)
        case "hard link":
            return hard_link(path, target)
        case _:
            return member(path, b"evil")


@settings(max_examples=150, deadline=None)
@given(st.lists(_entry, min_size=1, max_size=8))
def test_nothing_outside_the_layer_changes(entries: list[tuple[str, str, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        outside = home / "outside"
        outside.mkdir()
        (outside / "a").write_bytes(b"safe")
        os.utime(outside, ns=(1, 1))
        members = [_member(*entry, str(outside)) for entry in entries]
        with contextlib.suppress(BadImage):
            unpack(home, tar(members))
        assert sorted(path.name for path in home.iterdir()) == ["blob", "layer", "outside"]
        assert [path.name for path in outside.iterdir()] == ["a"]
        status = (outside / "a").stat()
        assert (outside / "a").read_bytes() == b"safe"
        assert status.st_nlink == 1
        assert outside.stat().st_mtime_ns == 1


@given(st.text(max_size=40))
def test_a_cleaned_name_stays_below(name: str) -> None:
    try:
        path = clean(name)
    except BadImage:
        return
    assert not path.startswith("/")
    assert "\0" not in path
    assert not {"", ".", ".."} & set(path.split("/")) or path == ""
    assert path == "" or os.path.normpath("/" + name).lstrip("/") == path
