"""A daemon killed in the middle of a pull or a mount: the next start cleans up, or goes on."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.base.errors import AlreadyExists
from berth.linux import mounts, namespaces
from cri_shim.model.namespaces import IdMapping
from cri_shim.store.store import Store
from tests.cri_shim.images import on_disk
from tests.cri_shim.images.scripted_registry import Script, serving
from tests.support import image as make
from tests.support.image import member
from tests.support.mounts import unmount_all


def has_layer(root: Path) -> bool:
    return any((root / "layers").glob("*/first"))


def has_partial(root: Path) -> bool:
    return any(path.stat().st_size for path in root.glob("blobs/sha256/*.partial"))


STAGES: dict[str, Callable[[Path], bool]] = {"download": has_partial, "unpack": has_layer}


@pytest.mark.parametrize("stage", STAGES)
async def test_kill_in_the_middle_of_a_pull(tmp_path: Path, stage: str) -> None:
    root = tmp_path / "root"
    # The first layer arrives; of the second a part, and then the line hangs.
    built = make.BuiltImage(
        [
            make.Layer.of(member("first", b"x")),
            make.Layer.of(member("second", os.urandom(500_000)), packing=""),
        ]
    )
    second = make.digest(built.layers[1].blob)
    script = Script(hang_after={second: 300_000})
    script.add(built)
    async with serving(script) as host:
        argv = [sys.executable, "-m", "tests.cri_shim.images.pulling", str(root), f"{host}/a"]
        process = await asyncio.create_subprocess_exec(*argv)
        while not STAGES[stage](root):
            assert process.returncode is None
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        script.hang_after.clear()
        async with on_disk.opened(root) as images:
            assert images.list() == ()
            assert all(name.endswith(".partial") for name in on_disk.remains(root))
            assert (await images.pull(f"{host}/a")).id == built.id
            await images.remove(built.id)
        assert on_disk.remains(root) == set()


@pytest.mark.parametrize("stage", ["made", "mapped", "mounted"])
async def test_kill_in_the_middle_of_a_mount(tmp_path: Path, stage: str) -> None:
    root = tmp_path / "root"
    built = make.BuiltImage([make.Layer.of(member(f"f{n}", b"x")) for n in range(3)])
    layout = make.write_directory(tmp_path / "layout", make.layout_files([built]))
    async with on_disk.opened(root) as images:
        await images.load(layout, "x:1")
        whole = on_disk.remains(root)
    ids = (IdMapping(container_id=0, host_id=400000, length=65536),)
    userns = namespaces.pin_user(ids, ids, tmp_path)
    try:
        argv = ["tests.cri_shim.images.preparing", str(root), built.id, str(userns), stage]
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", *argv)
        assert await process.wait() == -signal.SIGKILL
        left = {"made": 0, "mapped": 3, "mounted": 4}[stage]
        assert len(mounts.mounts_below(root)) == left
        async with on_disk.opened(root) as images:
            assert images.snapshots() == ("c",)
            with pytest.raises(AlreadyExists):
                await images.prepare(built.id, "c")
            await images.release("c")
            assert mounts.mounts_below(root) == []
            assert on_disk.remains(root) == whole
            await images.remove("x:1")
    finally:
        namespaces.unpin(userns)
        unmount_all(root)


async def test_layers_recorded_without_their_image_go_at_the_next_start(tmp_path: Path) -> None:
    root = tmp_path / "root"
    built = make.BuiltImage([make.Layer.of(member("a", b"a"))])
    layout = make.write_directory(tmp_path / "layout", make.layout_files([built]))
    async with on_disk.opened(root) as images:
        await images.load(layout, "x:1")
    store = Store(root / "store.db")
    store.documents("image").delete(built.id)
    store.close()
    async with on_disk.opened(root) as images:
        assert images.list() == ()
        assert images.usage() == (0, 0)
    assert on_disk.remains(root) == set()
