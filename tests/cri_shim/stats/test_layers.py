"""Disk use of layers: what a walk counts, and when one is made."""

import asyncio
import os
from pathlib import Path

import pytest

from berth.linux.tasks import Tasks
from cri_shim.stats import layers
from cri_shim.stats.layers import Layers, measure_directory


def test_a_walk_counts_blocks_and_hard_links_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"x" * 100_000)
    os.link(tmp_path / "sub" / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("/usr")
    used, inodes = measure_directory(str(tmp_path))
    assert inodes == 3
    assert 100_000 <= used < 200_000
    with open(tmp_path / "sparse", "wb") as sparse:
        sparse.truncate(1 << 30)
    assert measure_directory(str(tmp_path))[0] < 200_000
    assert measure_directory(str(tmp_path / "none")) == (0, 0)


class Walks:
    """A measure that counts its calls, and waits where told."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self) -> tuple[int, int]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return self.calls * 100, self.calls


async def test_the_first_answer_waits_and_the_next_does_not() -> None:
    walks = Walks()
    async with Tasks() as tasks:
        found = Layers(tasks)
        found.add("c", "/var/lib", walks)
        usage = await found.get("c")
        assert usage is not None
        assert (usage.used, usage.inodes, usage.mountpoint) == (100, 1, "/var/lib")
        assert await found.get("c") is usage
        assert found.known("c") is usage
        assert walks.calls == 1


async def test_callers_share_one_walk() -> None:
    walks = Walks()
    async with Tasks() as tasks:
        found = Layers(tasks)
        found.add("c", "/", walks)
        answers = await asyncio.gather(*(found.get("c") for _ in range(5)))
    assert walks.calls == 1
    assert len(set(answers)) == 1


async def test_an_old_answer_is_given_while_a_walk_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = Walks()
    async with Tasks() as tasks:
        found = Layers(tasks)
        found.add("c", "/", walks)
        first = await found.get("c")
        layer = found._layers["c"]
        layer.walked -= layer.good_for() + 1
        assert await found.get("c") is first
        assert layer.walk is not None
        await asyncio.wait([layer.walk])
        second = found.known("c")
        assert second is not None
        assert second.used == 200
        layer.walked -= layer.good_for() * (layers.STALE + 1)
        third = await found.get("c")
        assert third is not None
        assert third.used == 300


async def test_a_walk_that_fails_is_tried_again_later() -> None:
    walks = Walks()
    walks.error = PermissionError("no entry")
    async with Tasks() as tasks:
        found = Layers(tasks)
        found.add("c", "/", walks)
        assert await found.get("c") is None
        assert await found.get("c") is None
        assert walks.calls == 1
        walks.error = None
        found._layers["c"].walked -= layers.FRESH + 1
        assert await found.get("c") is not None


async def test_unknown_and_forgotten_layers() -> None:
    async with Tasks() as tasks:
        found = Layers(tasks)
        found.add("c", "/", Walks())
        found.forget("c")
        found.forget("c")
        assert found.known("c") is None
        assert await found.get("c") is None


async def test_a_slow_walk_is_good_for_longer() -> None:
    async with Tasks() as tasks:
        found = Layers(tasks)
        found.add("c", "/", Walks())
        layer = found._layers["c"]
        layer.cost = 3.0
        assert layer.good_for() == 60.0
