"""Pull and unpack: Berth against `skopeo copy` + `umoci unpack`, the same image, interleaved.

The image has 10,000 files and 150 MB in 4 layers, in a docker-registry on loopback. Beside the
times: how long the event loop was away during a pull, how much memory the pulls cost, and how long
snapshots take that are mounted for a user namespace.

    python -m bench.images [ROUNDS]
"""

import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.result import Result, ratio, value
from berth.linux import namespaces
from berth.linux.tasks import Tasks
from cri_shim.images.service import Images
from cri_shim.model.namespaces import IdMapping
from cri_shim.store.store import Store
from tests.support import image as make
from tests.support import registry

FILES = 10_000
BYTES = 150_000_000
LAYERS = 4
SNAPSHOTS = 20


def built(seed: int = 1) -> make.BuiltImage:
    """Files of 0.5 to 2 times the mean size, about half of it compressible."""
    noise = random.Random(seed)
    mean = BYTES // FILES
    layers = []
    for number in range(LAYERS):
        members = [make.directory(f"layer{number}")]
        for index in range(FILES // LAYERS):
            if index % 100 == 0:
                members.append(make.directory(f"layer{number}/{index:05}"))
            size = noise.randrange(mean // 2, mean * 3 // 2)
            data = noise.randbytes(size // 2) + bytes(size - size // 2)
            name = f"layer{number}/{index // 100 * 100:05}/file{index}"
            members.append(make.member(name, data, uid=1000 * (index % 2)))
        layers.append(make.Layer(make.tar(members), "gzip"))
    return make.BuiltImage(layers, config={"Cmd": ["/bin/true"]})


async def _watch(lags: list[float]) -> None:
    """How late a timer of 2 ms fires."""
    loop = asyncio.get_running_loop()
    while True:
        start = loop.time()
        await asyncio.sleep(0.002)
        lags.append(loop.time() - start - 0.002)


def rss() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def berth(reference: str, directory: Path) -> dict[str, float]:
    """One pull into an empty store; seconds until it is recorded and on the disk.

    Then some snapshots with a user namespace: the median time of one, and how long the loop was
    away meanwhile at most.
    """
    store = Store(directory / "store.db")
    lags: list[float] = []
    before = rss()
    async with Tasks() as tasks:
        images = Images(directory, store.documents("image"), store.documents("layer"), tasks, dict)
        watch = tasks.start(_watch(lags), "loop lag")
        start = time.perf_counter()
        await images.pull(reference)
        seconds = time.perf_counter() - start
        growth = rss() - before
        pull_lags = sorted(lags)
        lags.clear()
        prepares = await _prepare(images, reference, directory)
        watch.cancel()
        await images.close()
    store.close()
    return {
        "seconds": seconds,
        "lag_max": pull_lags[-1],
        "lag_p99": pull_lags[int(len(pull_lags) * 0.99)],
        "rss_growth": growth,
        "prepare": statistics.median(prepares),
        "prepare_lag": max(lags),
    }


async def _prepare(images: Images, reference: str, directory: Path) -> list[float]:
    """Seconds of each of some snapshots, which are released again."""
    image = images.get(reference)
    assert image is not None
    ids = (IdMapping(container_id=0, host_id=1 << 20, length=1 << 16),)
    userns = await asyncio.to_thread(namespaces.pin_user, ids, ids, directory)
    seconds = []
    for number in range(SNAPSHOTS):
        start = time.perf_counter()
        await images.prepare(image.id, f"c{number}", userns)
        seconds.append(time.perf_counter() - start)
    for number in range(SNAPSHOTS):
        await images.release(f"c{number}")
    await asyncio.to_thread(namespaces.unpin, userns)
    return seconds


def in_child(reference: str, directory: Path) -> dict[str, float]:
    """`berth` in a fresh process, whose memory is then the pull's alone."""
    argv = [sys.executable, "-m", "bench.images", "--pull", reference, str(directory)]
    found: dict[str, float] = json.loads(
        subprocess.run(argv, check=True, capture_output=True).stdout
    )
    return found


def reference_tools(reference: str, directory: Path, sync: bool) -> float:
    """skopeo and umoci, with or without bringing the result to the disk."""
    layout = f"oci:{directory}/oci:a"
    start = time.perf_counter()
    _quiet(
        "skopeo",
        "copy",
        "--src-tls-verify=false",
        f"docker://{reference}",
        layout,
    )
    _quiet("umoci", "unpack", "--image", f"{directory}/oci:a", f"{directory}/bundle")
    if sync:
        _quiet("sync", "-f", str(directory))
    return time.perf_counter() - start


def _quiet(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _in_directory(work: Callable[[Path], Any]) -> Any:
    os.sync()
    directory = Path(tempfile.mkdtemp(prefix="berth-bench-"))
    try:
        return work(directory)
    finally:
        shutil.rmtree(directory)


def run(rounds: int = 5) -> list[Result]:
    """The figures, each of `rounds` pulls."""
    image = built()
    size = sum(len(layer.tar) for layer in image.layers)
    ours: list[dict[str, float]] = []
    bare: list[float] = []
    synced: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="berth-bench-") as home,
        registry.running(Path(home) / "registry") as server,
    ):
        reference = server.push("bench/image", image)
        for _ in range(rounds):
            ours.append(_in_directory(lambda directory: in_child(reference, directory)))
            bare.append(_in_directory(lambda at: reference_tools(reference, at, sync=False)))
            synced.append(_in_directory(lambda at: reference_tools(reference, at, sync=True)))
    seconds = [run["seconds"] for run in ours]
    return [
        ratio("images: pull to skopeo and umoci, which do not sync", seconds, bare),
        ratio("images: pull to skopeo, umoci and sync", seconds, synced, at_most=1.0),
        value("images: uncompressed bytes", [size / run / 1e6 for run in seconds], "MB/s"),
        value("images: latest timer during a pull", _all(ours, "lag_max", 1e3), "ms"),
        value("images: 99th percentile of timers", _all(ours, "lag_p99", 1e3), "ms"),
        value("images: memory that a pull costs", _all(ours, "rss_growth", 1 / (1 << 20)), "MiB"),
        value("images: prepare with a user namespace", _all(ours, "prepare", 1e3), "ms"),
        value("images: the loop away during prepare", _all(ours, "prepare_lag", 1e3), "ms"),
    ]


def _all(runs: list[dict[str, float]], key: str, scale: float) -> list[float]:
    return [run[key] * scale for run in runs]


def main() -> None:
    if sys.argv[1:2] == ["--pull"]:
        print(json.dumps(asyncio.run(berth(sys.argv[2], Path(sys.argv[3])))))
        return
    for result in run(int(sys.argv[1]) if len(sys.argv) > 1 else 5):
        print(json.dumps(result))


if __name__ == "__main__":
    main()
