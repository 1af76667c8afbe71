"""Links on the way to a mount's source: followed as the kernel does, but not into dead mounts."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.linux.mounts import mount_by_name, parse
from cri_shim.container.mounts import resolve_beside

NAMES = st.sampled_from(["a", "b", "c", "..", "."])
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories a, b, c three deep; some are links: relative, absolute, dangling, looped."""
    top = tmp_path_factory.mktemp("tree").resolve()
    for one in "ab":
        for two in "ab":
            (top / one / two / "a").mkdir(parents=True)
    (top / "c").symlink_to("a/../b")
    (top / "a/c").symlink_to(top / "b/a")
    (top / "b/c").symlink_to("./c")
    (top / "a/a/c").symlink_to("absent")
    (top / "a/b/c").symlink_to("../../c/a//")
    return top


@settings(max_examples=300, deadline=None)
@given(path=PATHS)
def test_as_the_kernel(tree: Path, path: str) -> None:
    full = f"{tree}/{path}"
    try:
        wanted = os.path.realpath(full, strict=True)
    except OSError as error:
        with pytest.raises(OSError) as found:
            resolve_beside(full, ())
        assert found.value.errno == error.errno
    else:
        assert resolve_beside(full, ()) == wanted


@pytest.mark.parametrize(
    ("path", "into"),
    [("a", True), ("a/b", True), ("b/../a/x", True), ("a/c", True), ("b", False), ("c/a", False)],
)
def test_dead_mounts_are_not_entered(tree: Path, path: str, into: bool) -> None:
    """Where `a` hangs; `c` leads through it and out again, which nobody can know without it."""
    found = resolve_beside(f"{tree}/{path}", {f"{tree}/a"})
    assert (found is None) == (into or path.startswith("c"))


TABLE = """1 0 8:1 / / rw - ext4 /dev/a rw
2 1 8:2 / /srv rw shared:5 - ext4 /dev/b rw
3 1 0:9 / /srv/share ro - nfs4 server:/ rw
4 1 0:8 / /srv/share rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "id_"),
    [("/", 1), ("/srvx", 1), ("/srv", 2), ("/srv/s", 2), ("/srv/share/a/b", 4), ("/srv/share", 4)],
)
def test_mounts_by_name(path: str, id_: int) -> None:
    assert mount_by_name(path, parse(TABLE)).id == id_
