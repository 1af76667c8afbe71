"""Pull and unpack: Berth against `skopeo copy` + `umoci unpack`, the same image, interleaved.

The image has 10,000 files and 150 MB in 4 layers, in a docker-registry on loopback. Beside the
times: how long the event loop was away during a pull, and how much memory the pulls cost.

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

from berth.linux.tasks import Tasks
from cri_shim.images.service import Images
from cri_shim.store.store import Store
from tests.support import image as make
from tests.support import registry

FILES = 10_000
BYTES = 150_000_000
LAYERS = 4
OUT = Path(__file__).parent / "out"


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
    """One pull into an empty store; seconds until it is recorded and on the disk."""
    store = Store(directory / "store.db")
    lags: list[float] = []
    before = rss()
    async with Tasks() as tasks:
        images = Images(directory, store.documents("image"), store.documents("layer"), tasks, dict)
        watch = tasks.start(_watch(lags), "loop lag")
        start = time.perf_counter()
        await images.pull(reference)
        seconds = time.perf_counter() - start
        watch.cancel()
        await images.close()
    store.close()
    lags.sort()
    return {
        "seconds": seconds,
        "lag_max": lags[-1],
        "lag_p99": lags[int(len(lags) * 0.99)],
        "rss_growth": rss() - before,
    }


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


def measure(rounds: int = 5) -> dict[str, Any]:
    """The figures; times in seconds, memory in bytes."""
    image = built()
    size = sum(len(layer.tar) for layer in image.layers)
    packed = sum(len(layer.blob) for layer in image.layers)
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
    seconds = statistics.median(run["seconds"] for run in ours)
    return {
        "uncompressed_bytes": size,
        "compressed_bytes": packed,
        "berth_seconds": sorted(run["seconds"] for run in ours),
        "skopeo_umoci_seconds": sorted(bare),
        "skopeo_umoci_synced_seconds": sorted(synced),
        "berth_mb_per_second": size / seconds / 1e6,
        "ratio": seconds / statistics.median(bare),
        "ratio_synced": seconds / statistics.median(synced),
        "loop_lag_max_seconds": max(run["lag_max"] for run in ours),
        "loop_lag_p99_seconds": statistics.median(run["lag_p99"] for run in ours),
        "rss_growth_bytes": max(run["rss_growth"] for run in ours),
    }


def main() -> None:
    if sys.argv[1:2] == ["--pull"]:
        print(json.dumps(asyncio.run(berth(sys.argv[2], Path(sys.argv[3])))))
        return
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    OUT.mkdir(exist_ok=True)
    (OUT / "images.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
