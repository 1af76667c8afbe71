"""The daemon's memory stays while much goes through it, and while a client does not read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.linux.files import read_text
from tests.support import pods, streams
from tests.support.containers import until
from tests.support.shim import Shim

SIZE = 256 << 20
PIECE = bytes(1 << 20)
ZEROS = ("dd", "if=/dev/zero", "bs=1M", f"count={SIZE >> 20}")
PORT, SINK = 8080, 9000
SERVE = (
    f"mkdir /www; truncate -s {SIZE} /www/big; httpd -p {PORT} -h /www; "
    f"nc -ll -p {SINK} -e wc -c & touch /up; wait"
)


pytestmark = pytest.mark.usefixtures("clients")


@pytest.fixture(scope="module")
def serving(shim: Shim, image: str) -> Iterator[tuple[str, str]]:
    """A pod and its container, which serves zeros and counts bytes."""
    config = pods.pod_config(host_network=False)
    pod_id = pods.run_pod(shim, config)
    server = pods.container_config(image, ["/bin/sh", "-c", SERVE])
    container = pods.run_container(shim, pod_id, server, config)
    ready = ("sh", "-c", f"test -e /up && netstat -ltn | grep -q :{SINK}")
    pods.until(lambda: pods.execute(shim, container, *ready).exit_code == 0, "up")
    yield pod_id, container
    pods.remove_pod(shim, pod_id)


async def test_much_output_of_a_command(shim: Shim, serving: tuple[str, str]) -> None:
    run = await streams.execute(shim, serving[1], *ZEROS)
    run.client.keep = False
    peak = streams.Peak(shim)
    assert await run.code() == 0
    assert run.client.counts[run.streams["stdout"]] == SIZE
    assert peak.growth() < streams.MOST


async def test_much_input_of_a_command(shim: Shim, serving: tuple[str, str]) -> None:
    run = await streams.execute(shim, serving[1], "wc", "-c", stdin=True)
    peak = streams.Peak(shim)
    for _ in range(SIZE // len(PIECE)):
        await run.send(PIECE)
    await run.send(b"", fin=True)
    assert await run.code() == 0
    assert int(run.output()) == SIZE
    assert peak.growth() < streams.MOST


async def test_much_from_a_port(shim: Shim, serving: tuple[str, str]) -> None:
    session = await streams.Forward.start(streams.forward_url(shim, serving[0]))
    session.client.keep = False
    peak = streams.Peak(shim)
    _, data = await session.open(PORT)
    await session.client.send(data, b"GET /big HTTP/1.0\r\n\r\n", fin=True)
    await session.client.until_finished(data)
    assert session.client.counts[data] > SIZE
    assert peak.growth() < streams.MOST


async def test_much_to_a_port(shim: Shim, serving: tuple[str, str]) -> None:
    session = await streams.Forward.start(streams.forward_url(shim, serving[0]))
    peak = streams.Peak(shim)
    _, data = await session.open(SINK)
    for _ in range(SIZE // len(PIECE)):
        await session.client.send(data, PIECE)
    await session.client.send(data, b"", fin=True)
    await session.client.until_finished(data)
    assert int(session.client.data[data]) == SIZE
    assert peak.growth() < streams.MOST


async def test_a_reader_that_stops_holds_the_command_back(
    shim: Shim, serving: tuple[str, str]
) -> None:
    run = await streams.execute(shim, serving[1], *ZEROS)
    run.client.keep = False
    run.client.hold()
    peak = streams.Peak(shim)
    await until(running)
    (process,) = running()
    await until(lambda: stuck(process))
    assert written(process) < 32 << 20
    assert peak.growth() < streams.MOST
    run.client.go_on()
    assert await run.code() == 0
    assert run.client.counts[run.streams["stdout"]] == SIZE
    assert peak.growth() < streams.MOST


def running() -> list[Path]:
    """The processes that write zeros; dd cuts its own arguments in two."""
    words = " ".join(ZEROS).replace("=", " ").split()
    entries = Path("/proc").glob("[0-9]*")
    return [entry for entry in entries if arguments(entry) == words]


def arguments(process: Path) -> list[str]:
    return (read_text(process / "cmdline") or "").replace("=", "\0").split("\0")[:-1]


def stuck(process: Path) -> bool:
    """It waits for room in its pipe, and wrote nothing in the last hundred looks."""
    before = written(process)
    looks = all("pipe_write" in (process / "wchan").read_text() for _ in range(100))
    return looks and written(process) == before


def written(process: Path) -> int:
    lines = (process / "io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))
