"""Pods with a network through the socket: the native bridge against the CNI plugins bridge,
host-local and portmap under the same daemon, alternately.

Each has a node in a network namespace of its own; each pod publishes one port. What a runtime
takes for everything but the network is in both.
"""

import concurrent.futures
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.network import conflist
from bench.result import Result, ratio, value
from berth.pb import runtime_v1_pb2 as cri
from tests.support import nethost
from tests.support.nethost import Node

ROUNDS = 40
CROWD = 100
WAYS = 8
BATCHES = 2
_numbers = itertools.count(10_000)


def run() -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as directory:
        native = nethost.node(Path(directory) / "native")
        plugins = nethost.node(Path(directory) / "plugins", _cni(Path(directory)))
        with native as ours, plugins as theirs:
            for node in (ours, theirs):
                _life(node, cri.CONTAINER)
            return _one_by_one(ours, theirs) + _with_init(ours) + _crowds(ours, theirs)


def _cni(directory: Path) -> dict[str, str]:
    """Settings of a node on the plugins, and their network list."""
    conf = directory / "net.d"
    conf.mkdir()
    (conf / "10.conflist").write_text(json.dumps(conflist(directory)))
    return {"network.mode": "cni", "network.conf_dir": str(conf)}


def _config(pid: "cri.NamespaceMode") -> cri.PodSandboxConfig:
    config = nethost.pod_config(port_mappings=[nethost.port(80, next(_numbers))])
    config.linux.security_context.namespace_options.pid = pid
    return config


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and what it returned."""
    began = time.perf_counter()
    result = work()
    return (time.perf_counter() - began) * 1e3, result


def _life(node: Node, pid: "cri.NamespaceMode") -> tuple[float, float]:
    """Milliseconds to run a pod and to stop it."""
    config = _config(pid)
    up, pod = _timed(lambda: node.run(config))
    stop = cri.StopPodSandboxRequest(pod_sandbox_id=pod)
    down, _ = _timed(lambda: node.shim.runtime.StopPodSandbox(stop))
    node.remove(pod)
    return up, down


def _one_by_one(ours: Node, theirs: Node) -> list[Result]:
    lives = [(_life(ours, cri.CONTAINER), _life(theirs, cri.CONTAINER)) for _ in range(ROUNDS)]
    up, down = ([mine[i] for mine, _ in lives] for i in (0, 1))
    their_up, their_down = ([other[i] for _, other in lives] for i in (0, 1))
    return [
        value("RunPodSandbox, native bridge", up, "ms", at_most=12),
        value("StopPodSandbox, native bridge", down, "ms", at_most=12),
        value("RunPodSandbox, CNI plugins", their_up, "ms"),
        value("StopPodSandbox, CNI plugins", their_down, "ms"),
        ratio("RunPodSandbox: native bridge / CNI plugins", up, their_up, at_most=0.25),
        ratio("StopPodSandbox: native bridge / CNI plugins", down, their_down, at_most=0.25),
    ]


def _with_init(ours: Node) -> list[Result]:
    lives = [_life(ours, cri.POD) for _ in range(ROUNDS // 2)]
    return [
        value("RunPodSandbox, native bridge, shared PIDs", [up for up, _ in lives], "ms"),
        value("StopPodSandbox, native bridge, shared PIDs", [down for _, down in lives], "ms"),
    ]


def _crowds(ours: Node, theirs: Node) -> list[Result]:
    spent = [(_crowd(ours), _crowd(theirs)) for _ in range(BATCHES)]
    mine, others = [a for a, _ in spent], [b for _, b in spent]
    rates: Sequence[float] = [CROWD / seconds for seconds in mine]
    return [
        value(f"{CROWD} pods {WAYS}-way, native bridge", rates, "1/s"),
        ratio(f"rate of {CROWD} pods {WAYS}-way: native / plugins", others, mine, at_least=3),
    ]


def _crowd(node: Node) -> float:
    """Seconds until all run."""
    configs = [_config(cri.CONTAINER) for _ in range(CROWD)]
    with concurrent.futures.ThreadPoolExecutor(WAYS) as pool:
        spent, pods = _timed(lambda: list(pool.map(node.run, configs)))
        list(pool.map(node.remove, pods))
    return spent / 1e3
