"""First part: a real image pulled from a real registry, a pod of it, all that one does with it."""

import time
import urllib.request
from pathlib import Path

from berth.pb import runtime_v1_pb2 as cri
from demo.stage import Stage
from tests.support import busybox
from tests.support.registry import running

PAGE = "hello from a pod"
SERVER = f"echo '{PAGE}' > /tmp/index.html; echo serving; exec httpd -f -p 80 -h /tmp"


def pod_config(directory: Path, namespace: str, name: str, cpus: int) -> cri.PodSandboxConfig:
    """A pod as the kubelet asks for it; `cpus` is what it requests."""
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace=namespace),
        hostname=name,
        log_directory=str(directory / "logs" / name),
    )
    config.linux.resources.cpu_shares = cpus * 1024
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def container_config(image: str, *command: str) -> cri.ContainerConfig:
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name="main"),
        image=cri.ImageSpec(image=image),
        command=command,
        log_path="main.log",
    )
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def run_container(stage: Stage, pod: str, config: cri.ContainerConfig) -> str:
    request = cri.CreateContainerRequest(pod_sandbox_id=pod, config=config)
    container: str = stage.runtime.CreateContainer(request).container_id
    stage.runtime.StartContainer(cri.StartContainerRequest(container_id=container))
    return container


def show(stage: Stage) -> None:
    with running(stage.directory / "registry") as registry:
        reference = registry.push("demo/busybox", busybox.image())
        stage.step(
            "pull a real image from a registry", lambda: stage.shim("image", "pull", reference)
        )
    stage.image = reference
    stage.shim("image", "ls")
    config = pod_config(stage.directory, "batch", "web", 1)
    pod, container = stage.step(
        "run a pod through the CRI socket", lambda: _run(stage, config, reference)
    )
    stage.shim("ps")
    stage.step("see its log", lambda: _log(Path(config.log_directory) / "main.log"))
    stage.step("ask it over its network", lambda: _ask(stage, pod))
    stage.step("run a command in it", lambda: _exec(stage, container))
    stage.step("read its usage", lambda: _usage(stage, container))
    stage.step("remove it", lambda: remove(stage, pod))


def _run(stage: Stage, config: cri.PodSandboxConfig, image: str) -> tuple[str, str]:
    pod = stage.runtime.RunPodSandbox(cri.RunPodSandboxRequest(config=config)).pod_sandbox_id
    return pod, run_container(stage, pod, container_config(image, "/bin/sh", "-c", SERVER))


def _log(path: Path) -> None:
    deadline = time.monotonic() + 10
    while "serving" not in path.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    print(path.read_text(), end="")


def _ask(stage: Stage, pod: str) -> None:
    status = stage.runtime.PodSandboxStatus(cri.PodSandboxStatusRequest(pod_sandbox_id=pod))
    address = status.status.network.ip
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
        print(f"http://{address}/ says: {answer.read().decode().strip()}")


def _exec(stage: Stage, container: str) -> None:
    command = ["/bin/sh", "-c", "echo I am $(hostname), uid $(id -u); ps"]
    request = cri.ExecSyncRequest(container_id=container, cmd=command, timeout=10)
    print(stage.runtime.ExecSync(request).stdout.decode(), end="")


def _usage(stage: Stage, container: str) -> None:
    request = cri.ContainerStatsRequest(container_id=container)
    stats = stage.runtime.ContainerStats(request).stats
    print(
        f"cpu {stats.cpu.usage_core_nano_seconds.value / 1e6:.1f} ms, "
        f"memory {stats.memory.working_set_bytes.value / 1e6:.2f} MB, "
        f"written {stats.writable_layer.used_bytes.value / 1e3:.0f} kB"
    )


def remove(stage: Stage, pod: str) -> None:
    stage.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod))
    stage.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
