"""Reading what containers use, end to end through the socket."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from bench.daemon import IMAGE, daemon
from bench.result import Result, value
from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

PODS = 50
EACH = 2
ROUNDS = 100
LABELS = {f"label-{n}.kubernetes.io/name": f"value-{n}" for n in range(5)}
"""As kubelet sets: five labels, and below ten annotations."""
ANNOTATIONS = {f"io.kubernetes.container.note-{n}": "some text" * 3 for n in range(8)}


def run() -> list[Result]:
    with daemon("runc") as shim:
        _crowd(shim)
        return _measure(shim)


def _crowd(shim: Shim) -> None:
    for index in range(PODS):
        config = pods.pod_config(host_network=False, labels=LABELS, annotations=ANNOTATIONS)
        config.linux.cgroup_parent = f"{pods.PARENT}-{index}"  # as kubelet gives each its own
        pod = pods.run_pod(shim, config)
        for number in range(EACH):
            container = pods.container_config(
                IMAGE, name=f"c{number}", labels=LABELS, annotations=ANNOTATIONS
            )
            pods.run_container(shim, pod, container, config)


def _measure(shim: Shim) -> list[Result]:
    count = PODS * EACH
    runtime = shim.runtime
    return [
        value(
            f"ListContainerStats of {count}",
            _timed(lambda: len(runtime.ListContainerStats(cri.ListContainerStatsRequest()).stats)),
            "ms",
            at_most=20,
        ),
        value(
            f"ListContainerStats of {count}: CPU of the daemon",
            [_cpu(shim, lambda: runtime.ListContainerStats(cri.ListContainerStatsRequest()))],
            "ms",
        ),
        value(
            f"ListPodSandboxStats of {PODS} with {count}",
            _timed(
                lambda: len(runtime.ListPodSandboxStats(cri.ListPodSandboxStatsRequest()).stats)
            ),
            "ms",
        ),
        value(
            f"ListPodSandboxMetrics of {PODS} with {count}",
            _timed(
                lambda: len(
                    runtime.ListPodSandboxMetrics(cri.ListPodSandboxMetricsRequest()).pod_metrics
                ),
                rounds=10,
            ),
            "ms",
        ),
    ]


def _cpu(shim: Shim, call: Callable[[], object]) -> float:
    """Milliseconds of the daemon's CPU time a call: what a busy machine does not change."""
    assert shim.process is not None
    stat = Path(f"/proc/{shim.process.pid}/stat")

    def spent() -> float:
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")

    before = spent()
    for _ in range(ROUNDS):
        call()
    return (spent() - before) / ROUNDS


def _timed(call: Callable[[], int], rounds: int = ROUNDS) -> list[float]:
    """Milliseconds of each round; the answer must have something in it."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        assert call()
        took.append((time.perf_counter() - began) * 1e3)
    return took
