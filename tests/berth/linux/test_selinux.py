"""SELinux on a host that has none: what files say of it, and which files get a label."""

import os
from pathlib import Path

import pytest

from berth.linux import mounts, selinux
from berth.linux.selinux import Contexts

USER = "user.label"
"""Stands for the label; links cannot hold it."""
TRUSTED = "trusted.label"
"""As USER, and links hold it."""
LABEL = "system_u:object_r:container_file_t:s0:c1,c2"
TARGETED = """\
process = "system_u:system_r:container_t:s0"
# a comment
file = "system_u:object_r:container_file_t:s0"
ro_file="system_u:object_r:container_ro_file_t:s0"
"""
FOUND = Contexts("system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0")


def label(path: Path, attribute: str = USER) -> bytes | None:
    if attribute not in os.listxattr(path, follow_symlinks=False):
        return None
    return os.getxattr(path, attribute, follow_symlinks=False)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("kind", "enforce", "found"),
    [("selinuxfs", True, True), ("selinuxfs", False, False), ("tmpfs", True, False)],
)
def test_enabled(tmp_path: Path, kind: str, enforce: bool, found: bool) -> None:
    if enforce:
        (tmp_path / "enforce").write_text("0")
    points = mounts.parse(f"2 1 0:9 / {tmp_path} rw - {kind} selinuxfs rw\n")
    assert selinux.enabled(tmp_path, points) is found
    assert not selinux.enabled(tmp_path, [])


@pytest.mark.parametrize(
    ("config", "policy"),
    [
        ("SELINUX=enforcing\n# SELINUXTYPE=minimum\nSELINUXTYPE=mls\n", "mls"),
        (" SELINUXTYPE = mls # why\n", "mls"),
        ("SELINUX=permissive\n", "targeted"),
        (None, "targeted"),
    ],
)
def test_contexts_of_the_policy_in_use(tmp_path: Path, config: str | None, policy: str) -> None:
    assert selinux.contexts(tmp_path) is None
    if config is not None:
        write(tmp_path / "etc/selinux/config", config)
    write(tmp_path / "etc/selinux" / policy / "contexts/lxc_contexts", TARGETED)
    assert selinux.contexts(tmp_path) == FOUND


def test_shared_contexts_come_first(tmp_path: Path) -> None:
    shared = tmp_path / "usr/share/containers/selinux/contexts"
    write(tmp_path / "etc/selinux/targeted/contexts/lxc_contexts", TARGETED)
    write(shared, 'process = "u:r:own_t:s0"\nfile = "u:object_r:own_file_t:s0"\n')
    assert selinux.contexts(tmp_path) == Contexts("u:r:own_t:s0", "u:object_r:own_file_t:s0")
    write(shared, 'process = "u:r:own_t:s0"\n')
    assert selinux.contexts(tmp_path) == FOUND


def test_a_tree(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    write(tmp_path / "a/b/file", "")
    tree = [tmp_path, *tmp_path.rglob("*")]
    assert len(tree) == 4
    assert selinux.set_label(str(tmp_path), LABEL, USER)
    assert {label(path) for path in tree} == {LABEL.encode() + b"\0"}
    write(tmp_path / "a/new", "")
    assert not selinux.set_label(str(tmp_path), LABEL, USER), "the top has it already"
    assert label(tmp_path / "a/new") is None
    assert selinux.set_label(str(tmp_path), LABEL + "00", USER)
    assert label(tmp_path / "a/new") == LABEL.encode() + b"00\0"


def test_a_file(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    assert selinux.set_label(str(tmp_path / "file"), LABEL, USER)
    assert label(tmp_path / "file") == LABEL.encode() + b"\0"
    assert label(tmp_path) is None


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    write(outside / "file", "")
    inside.mkdir()
    (inside / "directory").symlink_to(outside)
    (inside / "link").symlink_to(outside / "file")
    (inside / "dangling").symlink_to("absent")
    assert selinux.set_label(str(inside), LABEL, TRUSTED)
    assert {label(path, TRUSTED) for path in inside.iterdir()} == {LABEL.encode() + b"\0"}
    assert label(outside, TRUSTED) is None and label(outside / "file", TRUSTED) is None


def test_an_error_leaves_the_top_to_be_done_again(tmp_path: Path) -> None:
    """USER on a link is refused."""
    (tmp_path / "link").symlink_to("absent")
    with pytest.raises(PermissionError):
        selinux.set_label(str(tmp_path), LABEL, USER)
    assert label(tmp_path) is None
    (tmp_path / "link").unlink()
    assert selinux.set_label(str(tmp_path), LABEL, USER)


def test_where_no_labels_are_held(tmp_path: Path) -> None:
    """No filesystem holds an attribute of such a kind."""
    write(tmp_path / "a/file", "")
    assert not selinux.set_label(str(tmp_path), LABEL, "absent.label")


def test_nested_too_deep(tmp_path: Path) -> None:
    (tmp_path / "/".join("d" * 300)).mkdir(parents=True)
    with pytest.raises(OSError, match="nested too deep"):
        selinux.set_label(str(tmp_path), LABEL, USER)


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "/usr", "/usr/", "/home", "/root", "/var", "/var/lib", "/boot", "/dev", "/proc",
     "/sys", "/run", "/var/../etc", "/proc/self", "/sys/fs", "/dev/shm"],
)  # fmt: skip
def test_the_systems_own(path: str) -> None:
    with pytest.raises(PermissionError, match="a directory of the system"):
        selinux.set_label(path, LABEL, USER)
    assert USER not in os.listxattr("/etc")


def test_a_link_to_the_systems_own(tmp_path: Path) -> None:
    (tmp_path / "volume").symlink_to("/etc")
    with pytest.raises(PermissionError, match="a directory of the system"):
        selinux.set_label(str(tmp_path / "volume"), LABEL, USER)


def test_option_of_a_tmpfs() -> None:
    assert mounts.tmpfs_options(0, 0o755, "") == "mode=755"
    assert mounts.tmpfs_options(9, 0o1777, LABEL) == f'mode=1777,size=9,context="{LABEL}"'
