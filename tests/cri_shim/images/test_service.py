"""Load, find, mount, save, remove: the service on real overlay mounts and a real store."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from berth.base.errors import (
    AlreadyExists,
    BerthError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    RuntimeFailure,
)
from berth.linux import mounts
from cri_shim.images.document.platforms import Platform
from cri_shim.images.errors import BadImage
from cri_shim.images.progress import LayerState, Progress
from cri_shim.images.service import Images
from cri_shim.images.unpack.stream import Limits
from cri_shim.stats.layers import measure_directory
from tests.cri_shim.images import on_disk
from tests.support import image as make
from tests.support.image import directory, member
from tests.support.mounts import unmount_all


def simple(text: bytes = b"hello", top: str = "zstd", **config: object) -> make.BuiltImage:
    base = make.Layer.of(directory("etc"), member("etc/greeting", text))
    more = make.Layer.of(member("etc/more", b"more"), packing=top)
    return make.BuiltImage([base, more], config={"Cmd": ["sh"], **config})


async def loaded(images: Images, tmp_path: Path, built: make.BuiltImage, name: str) -> str:
    layout = make.write_directory(
        tmp_path / f"layout-{built.digest[7:19]}", make.layout_files([built])
    )
    [image] = await images.load(layout, name)
    assert image.id == built.id
    return image.id


async def test_an_image_is_found_by_every_form_of_its_name(tmp_path: Path) -> None:
    built = simple(Env=["A=1"], User="me:us", StopSignal="SIGUSR1", WorkingDir="/w")
    async with on_disk.opened(tmp_path / "root") as images:
        image_id = await loaded(images, tmp_path, built, "busybox:1")
        image = images.get("busybox:1")
        assert image is not None
        assert image.tags == ("docker.io/library/busybox:1",)
        assert image.digests == (f"docker.io/library/busybox@{built.digest}",)
        assert image.size == len(b"hello") + len(b"more")
        assert image.config.stop_signal == "SIGUSR1"
        for form in (
            image_id,
            image_id[7:],
            image_id[7:19],
            "docker.io/library/busybox:1",
            f"busybox@{built.digest}",
            f"busybox:other@{built.digest}",
        ):
            assert images.get(form) is image, form
        for form in ("busybox", "busybox:2", "quay.io/busybox:1", "0" * 64, "", "?", "sha256:"):
            assert images.get(form) is None, form
        assert images.list() == (image,)


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    root = tmp_path / "root"
    built = simple(Env=["A=\udcff"], Labels={"a": "b"}, Volumes={"/data": {}})
    built.raw_config = built.raw_config.replace(b"\\udcff", b"\xff")
    built.use_config(built.raw_config)
    async with on_disk.opened(root) as images:
        await loaded(images, tmp_path, built, "x:1")
        before = images.list()
        assert before[0].config.env == ("A=\udcff",)
        await images.prepare(before[0].id, "c1")
        usage = images.usage()
    async with on_disk.opened(root) as images:
        assert images.list() == before
        assert images.usage() == usage
        assert images.snapshots() == ("c1",)
        with pytest.raises(FailedPrecondition, match="container c1"):
            await images.remove("x:1")
        await images.release("c1")
        await images.remove("x:1")
    assert on_disk.remains(root) == set()


async def test_a_start_removes_what_a_crash_left(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with on_disk.opened(root) as images:
        await loaded(images, tmp_path, simple(), "x:1")
    whole = on_disk.remains(root)
    (root / "layers/zz/etc").mkdir(parents=True)
    (root / "blobs/sha256" / ("0" * 64)).write_bytes(b"nobody's")
    old = root / "blobs/sha256" / ("1" * 64 + ".partial")
    old.write_bytes(b"part")
    os.utime(old, (1, 1))
    new = root / "blobs/sha256" / ("2" * 64 + ".partial")
    new.write_bytes(b"part")
    (root / "tmp/archive").write_bytes(b"x")
    async with on_disk.opened(root) as images:
        assert images.get("x:1") is not None
    assert on_disk.remains(root) == whole | {str(new.relative_to(root))}


async def test_an_image_that_lost_a_layer_is_dropped_at_start(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with on_disk.opened(root) as images:
        await loaded(images, tmp_path, simple(), "x:1")
    layer = next((root / "layers").iterdir())
    layer.rename(layer.with_name(layer.name + ".gone"))
    async with on_disk.opened(root) as images:
        assert images.list() == ()
    assert on_disk.remains(root) == set()


async def test_containers_write_into_snapshots_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with on_disk.opened(root) as images:
        image_id = await loaded(images, tmp_path, simple(), "x:1")
        one, two = await images.prepare(image_id, "one"), await images.prepare(image_id, "two")
        (one / "etc/greeting").write_bytes(b"changed")
        (one / "new").write_bytes(bytes(100_000))
        assert (two / "etc/greeting").read_bytes() == b"hello"
        assert not (two / "new").exists()
        size, inodes = measure_directory(str(images.written("one")))
        assert 100_000 <= size < 200_000
        assert inodes == 3
        assert measure_directory(str(images.written("nobody"))) == (0, 0)
        with pytest.raises(AlreadyExists, match="one"):
            await images.prepare(image_id, "one")
        assert (one / "new").exists()
        await images.release("one")
        await images.release("one")
        await images.release("two")
        assert mounts.mounts_below(str(root)) == []
        for bad in ("", "..", "a/b"):
            with pytest.raises(InvalidArgument):
                await images.prepare(image_id, bad)
        with pytest.raises(NotFound, match="sha256:00"):
            await images.prepare("sha256:" + "0" * 64, "three")


async def test_images_with_one_layer_none_and_very_many(tmp_path: Path) -> None:
    many = [make.Layer.of(member(f"f{n}", b"%d" % n), packing="") for n in range(120)]
    async with on_disk.opened(tmp_path / "root") as images:
        for count in (0, 1, 120):
            built = make.BuiltImage(many[:count])
            image_id = await loaded(images, tmp_path, built, f"x:{count}")
            rootfs = await images.prepare(image_id, f"c{count}")
            assert len(list(rootfs.iterdir())) == count
            (rootfs / "writable").touch()
            mounted = await images.mount_image(image_id, "pod")
            assert len(list(mounted.iterdir())) == count


async def test_mounts_of_images_are_read_only_shared_and_keep_the_image(tmp_path: Path) -> None:
    async with on_disk.opened(tmp_path / "root") as images:
        image_id = await loaded(images, tmp_path, simple(), "x:1")
        mounted = await images.mount_image(image_id, "pod1")
        assert await images.mount_image(image_id, "pod1") == mounted
        assert await images.mount_image(image_id, "pod2") != mounted
        with pytest.raises(OSError, match="Read-only"):
            (mounted / "new").touch()
        with pytest.raises(FailedPrecondition, match="pod"):
            await images.remove("x:1")
        for key in ("pod1", "pod1", "pod2"):
            await images.unmount_image(image_id, key)
        await images.remove("x:1")
    assert on_disk.remains(tmp_path / "root") == set()


async def test_removal_takes_all_names_and_what_no_other_image_needs(tmp_path: Path) -> None:
    root = tmp_path / "root"
    used: dict[str, str] = {}
    async with on_disk.opened(root, lambda: used) as images:
        base = simple()
        image_id = await loaded(images, tmp_path, base, "x:1")
        alone = on_disk.remains(root)
        await loaded(images, tmp_path, base, "x:2")
        bigger = make.BuiltImage([*base.layers, make.Layer.of(member("z", b"z"))])
        await loaded(images, tmp_path, bigger, "y:1")
        assert [len(image.tags) for image in images.list()] == [2, 1]

        used[image_id] = "web-1"
        with pytest.raises(FailedPrecondition, match="x:2 is used by container web-1"):
            await images.remove("x:2")
        used.clear()
        await images.remove("y:1")
        assert on_disk.remains(root) == alone
        await asyncio.gather(*(images.remove("x:2") for _ in range(4)))
        assert images.get("x:1") is None
        await images.remove("x:1")
        await images.remove(image_id)
    assert on_disk.remains(root) == set()


async def test_a_tag_moves_to_the_newer_image(tmp_path: Path) -> None:
    async with on_disk.opened(tmp_path / "root") as images:
        old = await loaded(images, tmp_path, simple(b"old"), "x:1")
        new = await loaded(images, tmp_path, simple(b"new"), "x:1")
        found = images.get("x:1")
        assert found is not None
        assert found.id == new
        former = images.get(old)
        assert former is not None
        assert former.tags == ()
        assert len(former.digests) == 1


async def test_archives_of_every_kind_give_the_same_image(tmp_path: Path) -> None:
    built = simple(top="gzip")  # skopeo puts no zstd into docker archives
    files = make.layout_files(
        [built], [built.described(**{"org.opencontainers.image.ref.name": "quay.io/a/b:1"})]
    )
    directory_ = make.write_directory(tmp_path / "layout", files)
    plain = make.write_archive(tmp_path / "oci.tar", files)
    sources = [directory_, plain]
    for packing in ("gzip", "zstd"):
        sources.append(tmp_path / f"oci.tar.{packing}")
        sources[-1].write_bytes(make.compress(plain.read_bytes(), packing))
    sources.append(
        make.write_archive(tmp_path / "d.tar", make.docker_files({"quay.io/a/b:1": built}))
    )
    sources.append(tmp_path / "skopeo.tar")
    copy = ["skopeo", "copy", f"oci:{directory_}", f"docker-archive:{sources[-1]}:b:1"]
    await asyncio.to_thread(subprocess.run, copy, check=True, capture_output=True)
    for number, source in enumerate(sources):
        root = tmp_path / f"root{number}"
        async with on_disk.opened(root) as images:
            [image] = await images.load(
                source, "quay.io/a/b:1" if "skopeo" in source.name else None
            )
            assert image.id == built.id, source
            assert image.tags == ("quay.io/a/b:1",), source
            rootfs = await images.prepare(image.id, "c")
            assert (rootfs / "etc/greeting").read_bytes() == b"hello"


async def test_a_docker_archive_with_several_images(tmp_path: Path) -> None:
    one, two = simple(b"one"), simple(b"two")
    archive = make.write_archive(tmp_path / "d.tar", make.docker_files({"a:1": one, "b:2": two}))
    async with on_disk.opened(tmp_path / "root") as images:
        with pytest.raises(InvalidArgument, match="holds 2 images"):
            await images.load(archive, "c:3")
        found = await images.load(archive)
        assert [image.tags for image in found] == [
            ("docker.io/library/a:1",),
            ("docker.io/library/b:2",),
        ]


async def test_a_layout_for_several_platforms(tmp_path: Path) -> None:
    arm = make.BuiltImage(simple().layers, architecture="arm64", variant="v8")
    files = make.layout_files([arm, simple()])
    layout = make.write_directory(tmp_path / "layout", files)
    async with on_disk.opened(tmp_path / "root") as images:
        [image] = await images.load(layout, "x:1")
        assert image.id == simple().id
    other = Platform("linux", "arm64", "v8")
    async with on_disk.opened(tmp_path / "arm", platform=other) as images:
        [image] = await images.load(layout, "x:1")
        assert image.id == arm.id
    async with on_disk.opened(tmp_path / "s390x", platform=Platform("linux", "s390x")) as images:
        with pytest.raises(BadImage, match="holds no image"):
            await images.load(layout, "x:1")
    assert on_disk.remains(tmp_path / "s390x") == set()


async def test_saved_archives_are_read_by_others_and_by_us(tmp_path: Path) -> None:
    built = simple()
    archive = tmp_path / "saved.tar"
    async with on_disk.opened(tmp_path / "root") as images:
        await loaded(images, tmp_path, built, "quay.io/a/b:1")
        await images.save("quay.io/a/b:1", archive)
        with pytest.raises(AlreadyExists, match=r"saved\.tar"):
            await images.save("quay.io/a/b:1", archive)
        with pytest.raises(NotFound, match="nothing"):
            await images.save("nothing", tmp_path / "other.tar")
    for kind in ("oci-archive", "docker-archive"):
        argv = ["skopeo", "inspect", "--config", "--raw", f"{kind}:{archive}"]
        done = await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True)
        assert make.digest(done.stdout) == built.id, kind
    async with on_disk.opened(tmp_path / "again") as images:
        [image] = await images.load(archive)
        assert (image.id, image.manifest) == (built.id, built.digest)
        assert image.tags == ("quay.io/a/b:1",)


async def test_save_finds_another_blob_for_a_layer_that_was_here(tmp_path: Path) -> None:
    zstd = make.BuiltImage([make.Layer.of(member("a", b"a"), packing="zstd")])
    gzip = make.BuiltImage([make.Layer.of(member("a", b"a"), packing="gzip")], config={"User": "x"})
    archive = tmp_path / "saved.tar"
    async with on_disk.opened(tmp_path / "root") as images:
        await loaded(images, tmp_path, zstd, "x:zstd")
        await loaded(images, tmp_path, gzip, "x:gzip")
        await images.remove("x:zstd")
        await images.save("x:gzip", archive)
        await images.remove("x:gzip")
        [image] = await images.load(archive)
        assert image.id == gzip.id


async def test_progress_ends_with_every_layer_done(tmp_path: Path) -> None:
    seen: list[Progress] = []
    layout = make.write_directory(tmp_path / "layout", make.layout_files([simple()]))
    async with on_disk.opened(tmp_path / "root") as images:
        await images.load(layout, "x:1", seen.append)
        assert {layer.state for layer in seen[0].layers} == {LayerState.WAITING}
        assert {layer.state for layer in seen[-1].layers} == {LayerState.DONE}
        assert all(layer.done == layer.total for layer in seen[-1].layers)
        await images.load(layout, "x:1", seen.append)
        assert {layer.state for layer in seen[-1].layers} == {LayerState.PRESENT}


def _changed(built: make.BuiltImage, **changes: object) -> make.BuiltImage:
    document = {**json.loads(built.raw_config), **changes}
    built.use_config(json.dumps(document).encode())
    return built


def bad_layouts() -> dict[str, tuple[dict[str, bytes], str]]:
    """Files of a layout each, and a part of the error's message."""
    good = make.layout_files([simple()])
    layer = "blobs/" + make.digest(simple().layers[1].blob).replace(":", "/")
    config = "blobs/" + simple().id.replace(":", "/")
    manifest = "blobs/" + simple().digest.replace(":", "/")
    arm = make.BuiltImage(simple().layers, architecture="arm64")
    alone = {**arm.described()}
    del alone["platform"]
    wrong_diff = simple()
    wrong_diff.layers[1].blob = make.compress(make.tar([member("other", b"x")]), "gzip")
    wrong_diff.build()
    missing_diff = _changed(simple(), rootfs={"type": "layers", "diff_ids": []})
    escape = make.BuiltImage([make.Layer.of(member("../x", b"x"))])
    bomb = make.BuiltImage([make.Layer.of(member("zeros", bytes(3 << 20)))])
    flipped = good[layer][:-1] + bytes([good[layer][-1] ^ 1])
    return {
        "empty directory": ({}, "neither index.json nor manifest.json"),
        "no images": ({"index.json": make.index([])}, "holds no image"),
        "index no JSON": ({**good, "index.json": b"{"}, "index.json"),
        "manifest missing": ({k: v for k, v in good.items() if k != manifest}, manifest),
        "manifest changed": ({**good, manifest: good[manifest] + b" "}, "does not have this"),
        "config missing": ({k: v for k, v in good.items() if k != config}, config),
        "config changed": ({**good, config: b"{}"}, "does not have this digest"),
        "layer missing": ({k: v for k, v in good.items() if k != layer}, layer),
        "layer changed": ({**good, layer: flipped}, "has the digest"),
        "layer truncated": ({**good, layer: good[layer][:50]}, "has 50 bytes"),
        "layer too long": ({**good, layer: good[layer] + b"x"}, "longer than"),
        "other architecture": (make.layout_files([arm], [alone]), "linux/arm64"),
        "wrong diff id": (make.layout_files([wrong_diff]), "the image promises"),
        "too few diff ids": (make.layout_files([missing_diff]), "names 0 layers"),
        "escape": (make.layout_files([escape]), "'../x' leads outside"),
        "bomb": (make.layout_files([bomb]), "refused as a bomb"),
        "docker no list": ({"manifest.json": b"{}"}, "not a list of Config"),
        "docker layer missing": (
            {
                "manifest.json": json.dumps([{"Config": "c", "Layers": ["gone"]}]).encode(),
                "c": simple().raw_config,
            },
            "no file gone",
        ),
    }


@pytest.mark.parametrize("kind", ["directory", "archive"])
async def test_bad_layouts_are_refused_whole(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    async with on_disk.opened(root, limits=Limits(size=2 << 20)) as images:
        for number, (name, (files, text)) in enumerate(bad_layouts().items()):
            path = tmp_path / str(number)
            path.mkdir() if kind == "directory" else None
            write = make.write_directory if kind == "directory" else make.write_archive
            with pytest.raises(BadImage) as caught:
                await images.load(write(path, files), "x:1")
            assert text in str(caught.value), name
            assert on_disk.remains(root) == set(), name
            assert images.list() == (), name
        assert images.usage() == (0, 0)


async def test_truncated_archives_and_other_files_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    whole = make.write_archive(tmp_path / "whole.tar", make.layout_files([simple()])).read_bytes()
    packed = make.compress(whole, "gzip")
    cases = [whole[:at] for at in range(0, len(whole.rstrip(b"\0")), 700)]
    cases += [packed[: len(packed) // 2], b"no archive at all", os.urandom(4000)]
    async with on_disk.opened(root) as images:
        for number, data in enumerate(cases):
            path = tmp_path / f"cut{number}"
            path.write_bytes(data)
            with pytest.raises(BadImage, match=f"cut{number}"):
                await images.load(path, "x:1")
        with pytest.raises(InvalidArgument, match="/nowhere"):
            await images.load(Path("/nowhere"), None)
        with pytest.raises(BerthError, match="neither file nor directory"):
            await images.load(Path("/dev/null"), None)
        assert images.list() == ()
    assert on_disk.remains(root) == set()


async def test_a_full_disk_is_told_and_can_be_emptied(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    large = make.BuiltImage([make.Layer.of(member("zeros", bytes(40 << 20)))])
    layout = make.write_directory(tmp_path / "large", make.layout_files([large]))
    mounts.tmpfs(root, 16 << 20)
    try:
        async with on_disk.opened(root) as images:
            small = await loaded(images, tmp_path, simple(), "x:1")
            before = on_disk.remains(root)
            with pytest.raises(RuntimeFailure, match="No space left on device"):
                await images.load(layout, "large:1")
            assert on_disk.remains(root) == before
            rootfs = await images.prepare(small, "c1")
            with pytest.raises(OSError, match="No space left"):
                (rootfs / "fill").write_bytes(bytes(40 << 20))
            await images.release("c1")
            (root / "fill").write_bytes(bytes(os.statvfs(root).f_bavail * 4096))
            await images.remove("x:1")
            (root / "fill").unlink()
            assert on_disk.remains(root) == set()
    finally:
        unmount_all(root)


async def test_an_unpacking_process_that_dies_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    layout = make.write_directory(tmp_path / "layout", make.layout_files([simple()]))
    async with on_disk.opened(root) as images:
        with monkeypatch.context() as patch:
            patch.setattr("cri_shim.images.unpack.pool._ARGV", ("/bin/false",))
            with pytest.raises(RuntimeFailure, match="unpacking process ended with exit code 1"):
                await images.load(layout, "x:1")
            assert on_disk.remains(root) == set()
        assert await images.load(layout, "x:1")


async def test_numbers_out_of_range_are_the_image_s_fault(tmp_path: Path) -> None:
    for number, bad in enumerate((member("a", uid=1 << 40), member("a", mtime=1 << 70))):
        built = make.BuiltImage([make.Layer.of(bad)])
        layout = make.write_directory(tmp_path / f"l{number}", make.layout_files([built]))
        async with on_disk.opened(tmp_path / f"r{number}") as images:
            with pytest.raises(BadImage, match="out of range"):
                await images.load(layout, "x:1")


async def test_remains_of_downloads_expire(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with on_disk.opened(root) as images:
        await loaded(images, tmp_path, simple(), "x:1")
        old = root / "blobs/sha256" / ("1" * 64 + ".partial")
        old.write_bytes(b"part")
        os.utime(old, (1, 1))
        await images.remove("x:1")
    assert on_disk.remains(root) == set()


async def test_a_compressed_archive_that_is_a_bomb(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (tmp_path / "bomb.tar.gz").write_bytes(make.compress(bytes(8 << 20), "gzip"))
    async with on_disk.opened(root, limits=Limits(size=2 << 20)) as images:
        with pytest.raises(BadImage, match="refused as a bomb"):
            await images.load(tmp_path / "bomb.tar.gz")
    assert on_disk.remains(root) == set()
