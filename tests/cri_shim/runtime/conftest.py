"""Containers for the runtime's tests: runc as it is, crun where it works."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from berth.linux.files import remove_tree
from berth.linux.tasks import Tasks
from cri_shim.runtime import subreaper
from cri_shim.runtime.exits import ExitWatcher
from cri_shim.runtime.handler import Features, Handler
from tests.support import bundle, crun_host
from tests.support.containers import Boxes


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A short directory on a tmpfs: socket names are limited to 107 bytes."""
    directory = Path(f"/run/berth-rt-{secrets.token_hex(4)}")
    directory.mkdir()
    bundle.make_rootfs(directory / "rootfs")
    yield directory
    remove_tree(directory)


@pytest.fixture(scope="session", params=["runc", "crun"])
def handler(request: pytest.FixtureRequest, place: Path) -> Handler:
    kind = request.param
    (place / "bin").mkdir(exist_ok=True)
    binary = crun_host.wrapper(place / "bin") if kind == "crun" else Path("/usr/sbin/runc")
    made = Handler(kind, str(binary), kind, place / kind, Features())
    made.prepare()
    return made


@pytest_asyncio.fixture
async def boxes(handler: Handler, place: Path) -> AsyncIterator[Boxes]:
    """Containers that are gone when the test ends."""
    subreaper.become_subreaper()
    async with Tasks() as tasks:
        watcher = ExitWatcher(tasks, closing=0.3)
        tasks.start(subreaper.Orphans().run(0.2), "orphans")
        made = Boxes(handler, place, watcher)
        yield made
        for box in made.made:
            await box.clean()
        watcher.close()
