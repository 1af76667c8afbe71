"""How fast the agent admits with its journal on the disk, over its socket, and comes back.

The tree is 156 consumers (125 leaves, 30 inner ones, the root) and 6 resources.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import grpc
import yaml

from bench.result import Result, value
from berth.pb import admission_v1_pb2 as pb
from berth.pb.admission_v1_pb2_grpc import PodAdmissionStub
from nodeagent.allocator.values.operation import Release, Request
from nodeagent.config import Config
from nodeagent.daemon import running
from nodeagent.ledger.ledger import Ledger

RESOURCES = ("cpu", "ephemeral-storage", "hugepages-2Mi", "memory", "nvidia.com/gpu", "pids")
VECTOR = dict.fromkeys(RESOURCES, 2)
LEAVES = [f"c{one}-{two}-{three}" for one in range(5) for two in range(5) for three in range(5)]
ROUNDS = 5
TOGETHER = 200
"""Callers that wait for the disk at the same time."""


def run() -> list[Result]:
    """The figures of the agent."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(Path(directory)))


async def _measure(directory: Path) -> list[Result]:
    config = _config(directory)
    async with running(config) as ledger:
        rates = [await _pairs_a_second(ledger, number) for number in range(ROUNDS)]
        calls = await _calls(config.socket)
        for number in range(500):
            await ledger.apply(_request(f"held-{number}", number))
    restarts = [await _restart(config) for _ in range(ROUNDS)]
    return [
        value("admit + release, journal on disk, 200 at once", rates, "/s", at_least=2000),
        value("Admit over the socket, one at a time", calls, "ms", at_most=2),
        value("agent serves again with 500 allocations", restarts, "ms", at_most=1000),
    ]


def _config(directory: Path) -> Config:
    plan = directory / "plan.yaml"
    plan.write_text(yaml.safe_dump(_plan()))
    return Config(
        socket=directory / "node.sock",
        state=directory / "state",
        plan=plan,
        cri_socket=directory / "cri.sock",
        capacity=dict.fromkeys(RESOURCES, 1_000_000),
    )


def _plan() -> dict[str, Any]:
    top = [
        {
            "name": f"c{one}",
            "consumers": [
                {
                    "name": f"c{one}-{two}",
                    "consumers": [{"name": f"c{one}-{two}-{three}"} for three in range(5)],
                }
                for two in range(5)
            ],
        }
        for one in range(5)
    ]
    groups = [{"name": "default", "windows": [{"when": "always", "consumers": top}]}]
    header = {"apiVersion": "berth.dev/v1alpha1", "kind": "ConsumerPlan"}
    return {**header, "metadata": {"name": "bench"}, "spec": {"groups": groups}}


def _request(identity: str, number: int) -> Request:
    return Request(identity, LEAVES[number % len(LEAVES)], VECTOR)


async def _pairs_a_second(ledger: Ledger, number_of_round: int) -> float:
    async def pair(number: int) -> None:
        identity = f"{number_of_round}-{number}"
        await ledger.apply(_request(identity, number))
        await ledger.apply(Release(identity))

    start = perf_counter()
    for first in range(0, 5 * TOGETHER, TOGETHER):
        await asyncio.gather(*[pair(number) for number in range(first, first + TOGETHER)])
    return 5 * TOGETHER / (perf_counter() - start)


async def _calls(socket: Path) -> list[float]:
    """Milliseconds of each call."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        stub = PodAdmissionStub(channel)
        return [
            await _timed(lambda number=number: stub.Admit(_pod(number))) for number in range(300)
        ]


def _pod(number: int) -> pb.AdmitRequest:
    consumer = {"berth.dev/consumer": LEAVES[number % len(LEAVES)]}
    return pb.AdmitRequest(pod_uid=f"u{number}", labels=consumer, requested=VECTOR)


async def _timed(call: Callable[[], Awaitable[Any]]) -> float:
    start = perf_counter()
    await call()
    return (perf_counter() - start) * 1000


async def _restart(config: Config) -> float:
    start = perf_counter()
    async with running(config):
        return (perf_counter() - start) * 1000
