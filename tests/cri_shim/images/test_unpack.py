"""Layers on disk: judged by umoci on a nasty image, and by hand where umoci has no opinion."""

import asyncio
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.extract import Unpacked, extract
from cri_shim.images.unpack.stream import LayerStream, Limits
from tests.cri_shim.images import on_disk
from tests.support import image as make
from tests.support.image import directory, hard_link, member, symlink, tar

CAPABILITY = "\x01\x00\x00\x02\x00\x04" + "\x00" * 14  # cap_net_bind_service=ep, vfs_cap_data v2
LONG = "a" * 90 + "/" + "b" * 120 + "/" + "c" * 200


def unpack(path: Path, data: bytes, limits: Limits | None = None) -> Unpacked:
    """Unpack an uncompressed archive into `path`/layer."""
    limits = limits or Limits()
    blob = path / "blob"
    blob.write_bytes(data)
    target = path / "layer"
    target.mkdir()
    old = os.umask(0)
    try:
        with blob.open("rb", buffering=0) as file:
            stream = LayerStream(file, "sha256", limits)
            found = extract(stream, str(target), limits)
            stream.finish()
            return found
    finally:
        os.umask(old)


def nasty() -> make.BuiltImage:
    base = make.Layer.of(
        directory("./", mtime=1_500_000_000),
        directory("usr"),
        directory("usr/bin", mtime=1_500_000_000.25),
        member("usr/bin/su", b"su", mode=0o4755),
        member("usr/bin/wall", b"wall", mode=0o2755, gid=5),
        member("usr/bin/ping", b"ping", mode=0o755, xattrs={"security.capability": CAPABILITY}),
        hard_link("usr/bin/ping6", "usr/bin/ping"),
        directory("tmp", mode=0o1777),
        directory("run", mode=0o755, uid=12, gid=34),
        directory("var"),
        symlink("var/run", "/run", uid=7, gid=8),
        member("var/run/through-link", b"lies in run"),
        symlink("dangling", "nowhere/at/all"),
        symlink("to-the-root", "/"),
        member("to-the-root/in-the-root", b"x"),
        symlink("above-the-root", "../../.."),
        member("above-the-root/in-the-root-too", b"x"),
        directory("dev"),
        member("dev/null", kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3)),
        member("dev/loop", kind=tarfile.BLKTYPE, mode=0o660, gid=6, device=(7, 1)),
        member("dev/fifo", kind=tarfile.FIFOTYPE, mode=0o620, uid=3),
        directory("a" * 90),
        directory("a" * 90 + "/" + "b" * 120),
        member(LONG, b"long", mtime=1_234_567_890.123456789),
        member("caf\udce9", b"not UTF-8"),
        member("user-attribute", b"x", xattrs={"user.note": "hello"}, uid=70000, gid=70001),
        member("gone", b"soon"),
        directory("gone-directory"),
        member("gone-directory/a", b"a"),
        directory("opaque"),
        member("opaque/below", b"hidden"),
        directory("replaced-by-file"),
        member("replaced-by-file/a", b"a"),
        member("replaced-by-directory", b"a"),
        member("twice", b"first"),
        member("twice", b"second", mode=0o600),
        member("/absolute", b"taken from the root"),
        directory("odd/../plain"),
    )
    middle = make.Layer.of(
        directory("./", mtime=1_500_000_000),
        member(".wh.gone"),
        member(".wh.gone-directory"),
        directory("opaque"),
        member("opaque/.wh..wh..opq"),
        member("opaque/above", b"seen"),
        member("replaced-by-file", b"now a file"),
        directory("replaced-by-directory"),
        member("replaced-by-directory/x", b"x"),
    )
    top = make.Layer.of(
        directory("./", mtime=1_500_000_000), directory("gone-directory"), packing=""
    )
    return make.BuiltImage([base, middle, top], config={"Cmd": ["sh"]})


async def test_a_nasty_image_unpacks_as_umoci_unpacks_it(tmp_path: Path) -> None:
    image = nasty()
    entry = image.described(**{"org.opencontainers.image.ref.name": "latest"})
    layout = make.write_directory(tmp_path / "layout", make.layout_files([image], [entry]))
    bundle = tmp_path / "bundle"
    umoci = ["umoci", "unpack", "--image", f"{layout}:latest", str(bundle)]
    await asyncio.to_thread(subprocess.run, umoci, check=True, capture_output=True)
    async with on_disk.opened(tmp_path / "root") as images:
        [loaded] = await images.load(layout, "nasty:1")
        rootfs = await images.prepare(loaded.id, "c1")
        ours, theirs = on_disk.described(rootfs), on_disk.described(bundle / "rootfs")
        await images.release("c1")
    # The root of a merged overlay is its upper directory, new with each container.
    ours["."] = theirs["."] = ()
    assert ours == theirs


def test_whiteouts_become_what_overlayfs_understands(tmp_path: Path) -> None:
    found = unpack(
        tmp_path,
        tar(
            [
                member("a/.wh.file"),
                directory("mine"),
                member("mine/new", b"x"),
                member(".wh.mine"),
                member(".wh.later"),
                directory("later"),
                member(".wh.deep"),
                member("deep/er/file", b"x"),
                member(".wh.kept"),
                member("kept", b"x"),
                member(".wh..wh.plnk"),
                member("shut/.wh..wh..opq"),
            ]
        ),
    )
    layer = tmp_path / "layer"
    status = (layer / "a/file").lstat()
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == 0
    for name in ("mine", "later", "deep", "shut"):
        assert os.getxattr(layer / name, "trusted.overlay.opaque") == b"y", name
    assert (layer / "mine/new").read_bytes() == b"x"
    assert (layer / "kept").read_bytes() == b"x"
    assert not (layer / ".wh..wh.plnk").exists()
    assert not found.opaque


async def test_an_opaque_root_hides_all_lower_layers(tmp_path: Path) -> None:
    image = make.BuiltImage(
        [
            make.Layer.of(member("below", b"x")),
            make.Layer.of(member(".wh..wh..opq"), member("above", b"x")),
        ]
    )
    layout = make.write_directory(tmp_path / "layout", make.layout_files([image]))
    async with on_disk.opened(tmp_path / "root") as images:
        [loaded] = await images.load(layout, "opaque:1")
        rootfs = await images.prepare(loaded.id, "c1")
        assert [path.name for path in rootfs.iterdir()] == ["above"]


async def test_directories_that_a_layer_does_not_describe_look_as_below(tmp_path: Path) -> None:
    image = make.BuiltImage(
        [
            make.Layer.of(directory("./", mode=0o750, uid=9), directory("tmp", mode=0o1777, uid=5)),
            make.Layer.of(member("tmp/x", b"x")),
            make.Layer.of(member("tmp/new/y", b"y")),
        ]
    )
    layout = make.write_directory(tmp_path / "layout", make.layout_files([image]))
    async with on_disk.opened(tmp_path / "root") as images:
        [loaded] = await images.load(layout, "implied:1")
        rootfs = await images.prepare(loaded.id, "c1")
        status = (rootfs / "tmp").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o1777, 5)
        assert stat.S_IMODE((rootfs / "tmp/new").stat().st_mode) == 0o755
        root = rootfs.stat()
        assert (stat.S_IMODE(root.st_mode), root.st_uid) == (0o750, 9)


@pytest.mark.parametrize("form", ["gnu", "posix", "oldgnu", "v7", "ustar"])
def test_archives_of_gnu_tar_with_holes_and_long_names(tmp_path: Path, form: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        for at in range(0, 60 << 20, 4 << 20):
            file.seek(at)
            file.write(b"data%d" % at)
        file.truncate(64 << 20)
    if form not in ("v7", "ustar"):
        name = "n" * 150
        (source / name).write_bytes(b"long")
        (source / "link").symlink_to("t" * 180)
    holes = ["--sparse"] if form not in ("v7", "ustar") else []
    argv = ["tar", f"--format={form}", *holes, "-C", str(source), "-cf", str(tmp_path / "t"), "."]
    subprocess.run(argv, check=True)
    unpack(tmp_path, (tmp_path / "t").read_bytes())
    ours, theirs = on_disk.described(tmp_path / "layer"), on_disk.described(source)
    drop_fractions = [(k, v[:3], v[3] // 10**9, v[4:]) for k, v in ours.items()]
    assert drop_fractions == [(k, v[:3], v[3] // 10**9, v[4:]) for k, v in theirs.items()]
    if holes:
        assert (tmp_path / "layer/sparse").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files_of_pax(tmp_path: Path, version: str) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"middle")
        file.truncate(2 << 20)
    argv = ["tar", "--format=posix", "--sparse", f"--sparse-version={version}"]
    subprocess.run([*argv, "-C", str(tmp_path), "-cf", str(tmp_path / "t"), "sparse"], check=True)
    unpack(tmp_path, (tmp_path / "t").read_bytes())
    assert (tmp_path / "layer/sparse").read_bytes() == source.read_bytes()


ESCAPES = {
    "dots": [member("../outside", b"x")],
    "dots inside": [member("a/../../outside", b"x")],
    "hard link by dots": [hard_link("link", "../../etc/hostname")],
    "hard link to the host": [hard_link("link", "/etc/hostname")],
    "whiteout of dots": [member("a/.wh..")],
    "file below a file": [member("a", b"x"), member("a/b", b"x")],
    "circle of links": [symlink("a", "b"), symlink("b", "a"), member("a/x", b"x")],
    "root replaced": [symlink("./", "/etc")],
    "hard link to a directory": [directory("d"), hard_link("link", "d")],
    "hard link to the root": [hard_link("link", "/")],
}


@pytest.mark.parametrize("name", sorted(ESCAPES))
def test_what_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    before = {path for path in tmp_path.parent.rglob("*") if tmp_path not in path.parents}
    with pytest.raises(BadImage, match=r"entry|leads|circle|directory|whiteout"):
        unpack(tmp_path, tar(ESCAPES[name]))
    assert set(tmp_path.iterdir()) == {tmp_path / "blob", tmp_path / "layer"}
    assert {p for p in tmp_path.parent.rglob("*") if tmp_path not in p.parents} == before


def test_links_that_point_outside_lead_inside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"safe")
    unpack(
        tmp_path,
        tar(
            [
                symlink("absolute", str(outside)),
                member("absolute/victim", b"evil"),
                symlink("relative", "../../../../.." + str(outside)),
                member("relative/new", b"evil"),
                symlink("file", str(outside / "victim")),
                member("file", b"replaces the link"),
                symlink("directory", str(outside)),
                directory("directory"),
                member("directory/x", b"in a directory again"),
                hard_link("hard", "absolute/victim"),
            ]
        ),
    )
    layer = tmp_path / "layer"
    assert {path.name for path in outside.iterdir()} == {"victim"}
    assert (outside / "victim").read_bytes() == b"safe"
    inside = layer / str(outside).lstrip("/")
    assert (inside / "victim").read_bytes() == b"evil"
    assert (inside / "new").read_bytes() == b"evil"
    assert (layer / "file").read_bytes() == b"replaces the link"
    assert (layer / "directory/x").read_bytes() == b"in a directory again"
    assert (layer / "hard").stat().st_ino == (inside / "victim").stat().st_ino


def test_directory_times_survive_a_directory_replaced_by_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    before = outside.stat().st_mtime_ns
    unpack(tmp_path, tar([directory("a"), directory("a/b", mtime=5), symlink("a", str(tmp_path))]))
    assert (tmp_path / "layer/a").is_symlink()
    assert outside.stat().st_mtime_ns == before


def test_marks_of_overlayfs_do_not_come_from_outside(tmp_path: Path) -> None:
    marks = {"trusted.overlay.redirect": "/etc", "user.overlay.opaque": "y", "user.ok": "1"}
    unpack(tmp_path, tar([directory("d", xattrs=marks), member("f", b"", xattrs=marks)]))
    for name in ("d", "f"):
        assert os.listxattr(tmp_path / "layer" / name) == ["user.ok"]


def test_bombs_are_refused(tmp_path: Path) -> None:
    zeros = tar([member("zeros", bytes(4 << 20))])
    cases = {
        "size": (zeros, Limits(size=1 << 20), "more than 1048576 bytes"),
        "ratio": (
            make.compress(zeros, "gzip"),
            Limits(ratio=100, ratio_from=1 << 20),
            "more than 100 times",
        ),
        "ratio zstd": (
            make.compress(zeros, "zstd"),
            Limits(ratio=100, ratio_from=1 << 20),
            "more than 100 times",
        ),
        "entries": (tar([directory(str(i)) for i in range(9)]), Limits(entries=8), "8 entries"),
    }
    for name, (data, limits, text) in cases.items():
        place = tmp_path / name
        place.mkdir()
        with pytest.raises(BadImage, match=text):
            unpack(place, data, limits)


def test_damage_is_told(tmp_path: Path) -> None:
    good = tar([member("a", os.urandom(5000))])
    packed = make.compress(good, "gzip")
    cases = {
        "checksum": (b"x" + good[1:], "checksum"),
        "truncated": (good[:3000], "truncated"),
        "gzip cut": (packed[:-20], "truncated"),
        "gzip bits": (packed[:50] + bytes(20) + packed[70:], "damaged|checksum|truncated"),
        "xz": (b"\xfd7zXZ\0" + good, "compressed by xz"),
        "nonsense": (os.urandom(2048), "malformed|checksum"),
        "zstd cut": (
            make.compress(tar([member("a", os.urandom(500_000))]), "zstd")[:300_000],
            "truncated",
        ),
    }
    for name, (data, text) in cases.items():
        place = tmp_path / name
        place.mkdir()
        with pytest.raises(BadImage, match=text):
            unpack(place, data)


def test_several_gzip_members_and_zstd_frames_are_one_stream(tmp_path: Path) -> None:
    data = tar([member("a", b"1" * 3000), member("b", b"2" * 3000)])
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"
    for packing, between in (("gzip", b""), ("zstd", skippable)):
        place = tmp_path / packing
        place.mkdir()
        parts = [make.compress(data[at : at + 2000], packing) for at in range(0, len(data), 2000)]
        unpack(place, between.join([*parts, b""]))
        assert (place / "layer/b").read_bytes() == b"2" * 3000
