"""One daemon for a module's tests, with runc and crun both, and one real image.

`pod` is a pod of each OCI runtime on the host's network, with which a test begins. Where a module
needs it otherwise it says so by a marker, and writes no fixture of its own:

    pytestmark = pytest.mark.pod(config=pods.privileged)  # a function that makes its config

and for one OCI runtime alone it overrides `handler`.

`config` is a container that sleeps in it, for a test to change before it creates one; `container`
is such a container that runs.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import busybox, crun_host, pods, streams
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


@pytest.fixture
def pod_config(request: pytest.FixtureRequest) -> cri.PodSandboxConfig:
    """What `pod` was run from: as the nearest `pod` marker makes it, or on the host's network."""
    marker = request.node.get_closest_marker("pod")
    made = pods.pod_config() if marker is None else marker.kwargs["config"]()
    assert isinstance(made, cri.PodSandboxConfig)
    return made


@pytest.fixture
def pod(shim: Shim, pod_config: cri.PodSandboxConfig, handler: str) -> Iterator[str]:
    """The id of a running pod, removed at the end with all that is in it."""
    pod_id = pods.run_pod(shim, pod_config, handler)
    yield pod_id
    pods.remove_pod(shim, pod_id)


@pytest.fixture
def config(image: str) -> cri.ContainerConfig:
    """A container that sleeps, not created yet."""
    return pods.container_config(image)


@pytest.fixture
def container(
    shim: Shim, pod: str, config: cri.ContainerConfig, pod_config: cri.PodSandboxConfig
) -> str:
    """The id of a running container in `pod`."""
    return pods.run_container(shim, pod, config, pod_config)


@pytest.fixture
async def clients() -> AsyncIterator[None]:
    """For modules with stream clients: whatever a test leaves open is closed in its own loop."""
    yield
    await streams.close_clients()
