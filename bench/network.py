"""Attach and detach a pod: the native bridge against the CNI plugins bridge, host-local, portmap.

Both on one host made for it (a network namespace), each pod with one host port, alternately in
one run, records in the real store. Medians; the spread is the 90th percentile.

    python -m bench.network [ROUNDS]
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from berth.linux import namespaces
from berth.linux.tasks import Tasks
from cri_shim.model.sandbox import PortMapping, Protocol
from cri_shim.network.choice import NetworkConfig, Networks, build
from cri_shim.network.pod import PodNet
from cri_shim.store.store import Store

ROUNDS = 30
PODS = 100
WAYS = 8
PLUGINS = Path("/usr/lib/cni")


class Node:
    """A host in a namespace, with both kinds of network on it."""

    def __init__(self, directory: Path, tasks: Tasks) -> None:
        self._directory = directory
        self._pins: list[Path] = []
        self._number = 0
        self._store = Store(directory / "store.db")
        self._host = self._pin("host")
        conf = directory / "net.d"
        conf.mkdir()
        (conf / "10.conflist").write_text(json.dumps(conflist(directory)))
        self.native = self._build("bridge", conf, tasks)
        self.plugins = self._build("cni", conf, tasks)

    def _build(self, mode: str, conf: Path, tasks: Tasks) -> Networks:
        config = NetworkConfig(
            mode=mode,
            conf_dir=conf,
            bin_dirs=(PLUGINS,),
            subnet=("10.77.0.0/16",),
            netns=str(self._host),
        )
        leases, attachments = (self._store.documents(f"{mode}-{kind}") for kind in ("a", "b"))
        return build(config, leases, attachments, tasks)

    def _pin(self, name: str) -> Path:
        directory = self._directory / name
        directory.mkdir()
        path = namespaces.pin(["net"], directory, inside=namespaces.loopback_up)["net"]
        self._pins.append(path)
        return path

    def pod(self) -> PodNet:
        self._number += 1
        name = f"pod{self._number}"
        port = PortMapping(Protocol.TCP, 80, 10_000 + self._number, "")
        sandbox = f"{self._number:012x}" + "0" * 52
        return PodNet(sandbox, name, "bench", name, str(self._pin(name)), (port,))

    async def close(self) -> None:
        await self.native.close()
        await self.plugins.close()
        self._store.close()
        for path in self._pins:
            namespaces.unpin(path)


def conflist(directory: Path) -> dict[str, Any]:
    """The plugins that do what the bridge of our own does; `directory` holds their leases."""
    ipam = {
        "type": "host-local",
        "dataDir": str(directory / "host-local"),
        "ranges": [[{"subnet": "10.78.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": True, "ipam": ipam}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "1.0.0", "name": "bench", "plugins": [bridge, portmap]}


async def _timed(step: Awaitable[Any]) -> float:
    start = time.perf_counter()
    await step
    return (time.perf_counter() - start) * 1000


async def _one_by_one(node: Node, rounds: int) -> dict[str, list[float]]:
    """Milliseconds, alternately."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, network in (("native", node.native), ("plugins", node.plugins)):
            pod = node.pod()
            found.setdefault(f"{name} attach", []).append(await _timed(network.attach(pod)))
            found.setdefault(f"{name} detach", []).append(await _timed(network.detach(pod, {})))
    return found


async def _many(pods: Sequence[PodNet], do: Callable[[PodNet], Awaitable[Any]]) -> float:
    """Pods a second, WAYS at a time."""
    limit = asyncio.Semaphore(WAYS)

    async def one(pod: PodNet) -> None:
        async with limit:
            await do(pod)

    start = time.perf_counter()
    await asyncio.gather(*(one(pod) for pod in pods))
    return len(pods) / (time.perf_counter() - start)


async def _together(node: Node, batches: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _ in range(batches):
        for name, network in (("native", node.native), ("plugins", node.plugins)):
            pods = [node.pod() for _ in range(PODS // batches)]
            found.setdefault(name, []).append(await _many(pods, network.attach))
            await _many(pods, lambda pod, network=network: network.detach(pod, {}))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
    return found


async def measure(rounds: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as directory:
        async with Tasks() as tasks:
            node = Node(Path(directory), tasks)
            try:
                await _one_by_one(node, 2)
                single = await _one_by_one(node, rounds)
                rates = await _together(node, 2)
            finally:
                await node.close()
    return _rows(single, rates)


def _rows(single: dict[str, list[float]], rates: dict[str, list[float]]) -> list[dict[str, Any]]:
    def time_of(name: str, target: float | None = None) -> dict[str, Any]:
        values = sorted(single[name])
        high = values[int(len(values) * 0.9)]
        return {
            "name": f"network {name}",
            "value": round(statistics.median(values), 2),
            "unit": "ms",
            "target": target,
            "spread": round(high, 2),
        }

    def ratio(name: str, value: float, target: str) -> dict[str, Any]:
        return {
            "name": name,
            "ratio": round(value, 3),
            "unit": "",
            "target": target,
            "spread": None,
        }

    median = {name: statistics.median(values) for name, values in single.items()}
    rate = {name: statistics.median(values) for name, values in rates.items()}
    return [
        time_of("native attach"),
        time_of("plugins attach"),
        time_of("native detach"),
        time_of("plugins detach"),
        ratio(
            "network attach: native to plugins",
            median["native attach"] / median["plugins attach"],
            "<= 0.25",
        ),
        ratio(
            f"network {PODS} pods {WAYS}-way: native rate to plugins' rate",
            rate["native"] / rate["plugins"],
            ">= 3",
        ),
        {
            "name": f"network native attach {WAYS}-way",
            "value": round(rate["native"], 1),
            "unit": "pods/s",
            "target": None,
            "spread": round(max(rates["native"]) - min(rates["native"]), 1),
        },
    ]


def run(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Rows with name, value or ratio, unit, target, spread."""
    return asyncio.run(measure(rounds))


if __name__ == "__main__":
    for row in run(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS):
        print(json.dumps(row))
