"""Nothing that touches a disk or makes a mount runs on the event loop's thread."""

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from berth.linux import mounts, namespaces, syscalls
from cri_shim.images.service import Images
from cri_shim.images.snapshot import layers, mounting
from cri_shim.model.namespaces import IdMapping
from tests.cri_shim.images import on_disk
from tests.cri_shim.images.scripted_registry import Script, serving
from tests.support import image as make
from tests.support.image import directory, member

MANY = 60
FIRST_ID = 400000


def many_layers(count: int = MANY) -> make.BuiltImage:
    return make.BuiltImage(
        [
            make.Layer.of(directory(f"d{n}"), member(f"d{n}/f", bytes(1000)), packing="")
            for n in range(count)
        ]
    )


@pytest.fixture
def userns(tmp_path: Path) -> Iterator[Path]:
    ids = (IdMapping(container_id=0, host_id=FIRST_ID, length=65536),)
    path = namespaces.pin_user(ids, ids, tmp_path)
    yield path
    namespaces.unpin(path)


async def everything(images: Images, host: str, archive: Path, userns: Path) -> None:
    """All calls of the service that do more than look things up."""
    image = await images.pull(f"{host}/a")
    for key, namespace in (("plain", None), ("mapped", userns)):
        await images.prepare(image.id, key, namespace)
        await images.mount_image(image.id, key, namespace)
        await images.mount_image(image.id, key, namespace)
    await images.save(f"{host}/a", archive)
    for key in ("plain", "mapped"):
        await images.release(key)
        await images.unmount_image(image.id, key)
    await images.remove(image.id)
    await images.load(archive)
    await images.remove(image.id)


_on_loop: list[str] | None = None
_loop_thread = 0
_CHANGES = ("os.", "shutil.", "open")
_ALLOWED = ("os.rename", "os.fork", "os.posix_spawn", "os.putenv", "os.kill")
"""To rename is how layers and blobs are taken out of use in the moment of the decision."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _on_loop is None or threading.get_ident() != _loop_thread:
        return
    if event.startswith(_CHANGES) and event not in _ALLOWED:
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else ""
        if not path.startswith(("/dev/null", "/proc/self/fd")):
            _on_loop.append(f"{event} {path}")


@contextlib.contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What this thread does to files and mounts meanwhile."""
    global _on_loop, _loop_thread
    found: list[str] = []
    with monkeypatch.context() as patch:
        for name in ("mount", "umount2", "fsopen", "open_tree", "move_mount", "mount_setattr"):
            patch.setattr(syscalls, name, _told(name, getattr(syscalls, name), found))
        _loop_thread, _on_loop = threading.get_ident(), found
        try:
            yield found
        finally:
            _on_loop = None


def _told(name: str, call: Callable[..., Any], found: list[str]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **more: Any) -> Any:
        if threading.get_ident() == _loop_thread:
            found.append(name)
        return call(*arguments, **more)

    return wrapped


@pytest.fixture(scope="module", autouse=True)
def audit_hook() -> None:
    sys.addaudithook(_audit)  # for ever: Python cannot take one away again


async def test_the_loop_s_thread_touches_no_file_and_no_mount(
    tmp_path: Path, userns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script()
    script.add(many_layers())
    async with serving(script) as host, on_disk.opened(tmp_path / "root") as images:
        with watched(monkeypatch) as found:
            await everything(images, host, tmp_path / "saved.tar", userns)
            assert found == []
            mounts.bind(tmp_path, tmp_path)
            mounts.unmount(tmp_path)
            (tmp_path / "one").write_bytes(b"")
        assert [what.partition(" ")[0] for what in found] == ["mount", "umount2", "open"]
    assert on_disk.remains(tmp_path / "root") == set()


TICKS = 5
AWAY = 20.0


@contextlib.asynccontextmanager
async def ticking() -> AsyncIterator[list[int]]:
    """One item, which counts how often the loop came back to a task that only sleeps."""
    ticks = [0]

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.001)
            ticks[0] += 1

    task = asyncio.ensure_future(tick())
    try:
        yield ticks
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_slow_disk_and_a_slow_kernel_hold_up_nobody_else(
    tmp_path: Path, userns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call lasts until the loop has run some more, so that no clock is judged here."""
    slowed: set[str] = set()
    held_up: set[str] = set()
    script = Script()
    script.add(many_layers(3))
    async with (
        serving(script) as host,
        on_disk.opened(tmp_path / "root") as images,
        ticking() as ticks,
    ):

        def slow(owner: object, name: str) -> None:
            call = getattr(owner, name)

            def slower(*arguments: Any, **more: Any) -> Any:
                slowed.add(name)
                begin, deadline = ticks[0], time.monotonic() + AWAY
                while ticks[0] < begin + TICKS and name not in held_up:
                    time.sleep(0.001)
                    if time.monotonic() > deadline:
                        held_up.add(name)
                return call(*arguments, **more)

            monkeypatch.setattr(owner, name, slower)

        slow(mounts, "overlay")
        slow(mounts, "clone_tree")
        slow(mounting, "drop")
        slow(layers, "remove_tree")
        slow(layers.Layers, "_sync")
        await everything(images, host, tmp_path / "saved.tar", userns)
    assert held_up == set()
    assert slowed == {"overlay", "clone_tree", "drop", "remove_tree", "_sync"}


class Gate:
    """Holds up the mounts, each on its thread, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        mount = mounts.overlay

        def gated(*arguments: Any, **more: Any) -> None:
            self.reached.set()
            assert self.open.wait(60)
            mount(*arguments, **more)

        monkeypatch.setattr(mounts, "overlay", gated)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate(monkeypatch)
    yield made
    made.open.set()


@contextlib.asynccontextmanager
async def with_image(root: Path) -> AsyncIterator[tuple[Images, str]]:
    layout = make.write_directory(root / "layout", make.layout_files([many_layers(2)]))
    async with on_disk.opened(root / "root") as images:
        [image] = await images.load(layout, "x:1")
        yield images, image.id


async def test_a_cancelled_prepare_leaves_no_mount(
    tmp_path: Path, userns: Path, gate: Gate
) -> None:
    async with with_image(tmp_path) as (images, image_id):
        whole = on_disk.remains(tmp_path / "root")
        preparing = asyncio.ensure_future(images.prepare(image_id, "c", userns))
        await asyncio.to_thread(gate.reached.wait)
        preparing.cancel()
        releasing = asyncio.ensure_future(images.release("c"))
        again = asyncio.ensure_future(images.prepare(image_id, "d"))
        for _ in range(20):
            await asyncio.sleep(0)
        preparing.cancel()
        assert not preparing.done() and not releasing.done()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await preparing
        await releasing
        await again
        assert images.snapshots() == ("d",)
        await images.release("d")
        assert on_disk.remains(tmp_path / "root") == whole
        assert mounts.mounts_below(tmp_path / "root") == []
        await images.remove(image_id)


async def test_a_cancelled_mount_of_an_image_leaves_none(tmp_path: Path, gate: Gate) -> None:
    async with with_image(tmp_path) as (images, image_id):
        mounting_ = asyncio.ensure_future(images.mount_image(image_id, "pod"))
        await asyncio.to_thread(gate.reached.wait)
        mounting_.cancel()
        gate.open.set()
        with pytest.raises(asyncio.CancelledError):
            await mounting_
        assert mounts.mounts_below(tmp_path / "root") == []
        await images.remove(image_id)


async def test_an_image_is_used_while_its_snapshot_is_made(tmp_path: Path, gate: Gate) -> None:
    async with with_image(tmp_path) as (images, image_id):
        preparing = asyncio.ensure_future(images.prepare(image_id, "c"))
        await asyncio.to_thread(gate.reached.wait)
        with pytest.raises(Exception, match="is used by container c"):
            await images.remove(image_id)
        gate.open.set()
        assert len(list((await preparing).iterdir())) == 2


async def test_one_change_of_a_snapshot_at_a_time(tmp_path: Path) -> None:
    """Whatever comes at once, and whoever gives up: the last release leaves nothing."""
    async with with_image(tmp_path) as (images, image_id):
        whole = on_disk.remains(tmp_path / "root")
        for round_ in range(5):
            calls = [
                asyncio.ensure_future(call)
                for _ in range(4)
                for call in (
                    images.prepare(image_id, "c"),
                    images.mount_image(image_id, "c"),
                    images.release("c"),
                    images.unmount_image(image_id, "c"),
                )
            ]
            for number, call in enumerate(calls):
                await asyncio.sleep(0)
                if (number + round_) % 3 == 0:
                    call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await images.release("c")
            await images.unmount_image(image_id, "c")
            assert images.snapshots() == ()
            assert mounts.mounts_below(tmp_path / "root") == []
            assert on_disk.remains(tmp_path / "root") == whole
        await images.remove(image_id)
