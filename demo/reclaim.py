"""Second part: capacity shared by plan. A borrower runs; the owner comes; the owner runs."""

import time

import grpc

from berth.pb import runtime_v1_pb2 as cri
from demo.runtime import container_config, pod_config, remove, run_container
from demo.stage import Stage

TIMEOUT = 30.0


def show(stage: Stage) -> None:
    image = stage.image
    borrowers = stage.step(
        "batch owns 1 CPU and borrows 2 that research leaves idle",
        lambda: [_run(stage, image, "batch", name, cpus) for name, cpus in (("b1", 1), ("b2", 2))],
    )
    stage.agent("status")
    owner = stage.step(
        "research comes for its own 3 CPUs: notice, grace, reclaim",
        lambda: _claim(stage, image, "research", "r1", 3),
    )
    stage.agent("status")
    stage.shim("ps")
    stage.step("remove all", lambda: [remove(stage, pod) for pod in [*borrowers, owner]])
    stage.shim("image", "rm", image)


def _run(stage: Stage, image: str, consumer: str, name: str, cpus: int) -> str:
    config = pod_config(stage.directory, consumer, name, cpus)
    config.labels["berth.dev/consumer"] = consumer
    pod: str = stage.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config)).pod_sandbox_id
    run_container(stage, pod, container_config(image, "/bin/sleep", "1000"))
    print(f"{consumer}/{name} runs with {cpus} CPU")
    return pod


def _claim(stage: Stage, image: str, consumer: str, name: str, cpus: int) -> str:
    """Ask until granted, as the kubelet does."""
    began = time.monotonic()
    told = ""
    while True:
        try:
            return _run(stage, image, consumer, name, cpus)
        except grpc.RpcError as error:
            text = error.details() or ""
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            if time.monotonic() - began > TIMEOUT:
                raise SystemExit(f"demo: still held after {TIMEOUT:.0f} s: {text}") from None
            if not told:
                told = text
                print(f"held: {text}", flush=True)
        time.sleep(0.2)
