"""One daemon for a module's tests, with runc and crun both, and one real image."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import busybox, crun_host
from tests.support.image import layout_files, write_directory
from tests.support.shim import Shim, running

HANDLERS = ("runc", "crun")
IMAGE = "example.org/busybox:1"


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The busybox image as an OCI layout directory."""
    built = busybox.image()
    files = layout_files([built], [built.described()])
    return write_directory(tmp_path_factory.mktemp("layout"), files)


@pytest.fixture(scope="session")
def handler_settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Both OCI runtimes, whichever of them this host's own set-up would choose."""
    crun = crun_host.wrapper(tmp_path_factory.mktemp("bin"))
    return {"runtime.handlers.runc.type": "runc", "runtime.handlers.crun.binary": str(crun)}


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory, layout: Path, handler_settings: dict[str, str]
) -> Iterator[Shim]:
    directory = tmp_path_factory.mktemp("shim")
    with running(directory, handler_settings) as daemon:
        daemon.load(layout, IMAGE)
        yield daemon


@pytest.fixture(scope="module")
def image() -> str:
    return IMAGE


@pytest.fixture(params=HANDLERS)
def handler(request: pytest.FixtureRequest) -> str:
    return str(request.param)
