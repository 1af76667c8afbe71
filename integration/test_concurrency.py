"""Calls about one pod or container at the same moment: kubelet retries while the first runs on."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.admission.scripted_agent import ScriptedAgent, serving
from tests.support import pods
from tests.support.shim import Shim, running


class GatedAgent(ScriptedAgent):
    """Admits every pod; a Release returns once its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.releasing = threading.Event()

    async def Release(self, request, context):  # type: ignore[no-untyped-def]
        self.releasing.set()
        await asyncio.to_thread(self.gate.wait, 20)
        return await super().Release(request, context)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatedAgent, Path]]:
    """An agent that serves in a thread of its own, and its socket."""
    agent, socket = GatedAgent(), tmp_path_factory.mktemp("agent") / "node.sock"
    started, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(agent, socket):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(20)
    yield agent, socket
    loop.call_soon_threadsafe(ended.set)
    thread.join(20)
    loop.close()


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Path,
    image: str,
    handler_settings: dict[str, str],
    agent: tuple[GatedAgent, Path],
) -> Iterator[Shim]:
    admission = {"admission.mode": "required", "admission.socket": str(agent[1])}
    with running(tmp_path_factory.mktemp("shim"), handler_settings | admission) as daemon:
        daemon.load(layout, image)
        yield daemon


def stopping(shim: Shim, pod: str) -> Any:
    return shim.runtime.StopPodSandbox.future(cri.StopPodSandboxRequest(pod_sandbox_id=pod))


def removing(shim: Shim, pod: str) -> Any:
    return shim.runtime.RemovePodSandbox.future(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def refused(call: Any) -> str:
    """The code of a call that may fail, empty where it did not."""
    error = call.exception(timeout=60)
    return "" if error is None else str(error.code().name)


def reached(shim: Shim) -> None:
    """What was sent before on this connection has begun: requests of one come in order."""
    for _ in range(3):
        shim.runtime.Version(cri.VersionRequest())


def pod_states(shim: Shim) -> list[int]:
    return [pod.state for pod in shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items]


def test_two_stops_of_an_admitted_pod(shim: Shim, agent: tuple[GatedAgent, Path]) -> None:
    """The second comes while the agent is being told: it must not write back what it had read."""
    gated, _ = agent
    pod = pods.run_pod(shim)
    gated.releasing.clear()
    gated.gate.clear()
    stops = [stopping(shim, pod), stopping(shim, pod)]
    assert gated.releasing.wait(20)
    reached(shim)
    gated.gate.set()
    assert [refused(call) for call in stops] == ["", ""]
    assert pod_states(shim) == [cri.SANDBOX_NOTREADY]
    assert gated.released.count(gated.asked[-1].pod_uid) == 1
    removing(shim, pod).result(60)


@pytest.mark.parametrize(("stops", "removals"), [(1, 1), (5, 5)])
def test_stops_and_removals(
    shim: Shim, image: str, handler: str, stops: int, removals: int
) -> None:
    """All succeed, whichever does the work; of pod and containers nothing is left."""
    config = pods.pod_config(host_network=False)
    pod = pods.run_pod(shim, config, handler)
    container = pods.run_container(shim, pod, pods.container_config(image), config)
    pods.create(shim, pod, pods.container_config(image, name="created"), config)
    calls = [stopping(shim, pod) for _ in range(stops)]
    calls += [removing(shim, pod) for _ in range(removals)]
    request = cri.RemoveContainerRequest(container_id=container)
    calls += [shim.runtime.RemoveContainer.future(request) for _ in range(removals)]
    assert [refused(call) for call in calls] == [""] * len(calls)
    assert pod_states(shim) == []
    assert shim.leftovers() == []


def test_an_update_and_a_stop(shim: Shim, image: str, handler: str) -> None:
    """The update is made or refused as too late; the container ends in either case."""
    pod = pods.run_pod(shim, handler=handler)
    for number in range(5):
        container = pods.run_container(shim, pod, pods.container_config(image, name=f"c{number}"))
        updates = [update(shim, container, cpu_shares=512 + n) for n in range(3)]
        request = cri.StopContainerRequest(container_id=container)
        stop = shim.runtime.StopContainer.future(request)
        updates.append(update(shim, container, cpu_shares=900))
        assert refused(stop) == ""
        assert {refused(call) for call in updates} <= {"", "FAILED_PRECONDITION"}
        assert pods.status(shim, container).state == cri.CONTAINER_EXITED
    removing(shim, pod).result(60)


def update(shim: Shim, container: str, **limits: int) -> Any:
    linux = cri.LinuxContainerResources(**limits)
    request = cri.UpdateContainerResourcesRequest(container_id=container, linux=linux)
    return shim.runtime.UpdateContainerResources.future(request)


def test_updates_of_different_limits_are_all_kept(shim: Shim, image: str) -> None:
    pod = pods.run_pod(shim)
    container = pods.run_container(shim, pod, pods.container_config(image))
    for round_ in range(1, 6):
        wanted = {
            "cpu_shares": 256 * round_,
            "memory_limit_in_bytes": (64 + round_) << 20,
            "cpu_quota": 10_000 * round_,
        }
        calls = [update(shim, container, **{name: value}) for name, value in wanted.items()]
        assert [refused(call) for call in calls] == [""] * len(calls)
        linux = pods.status(shim, container).resources.linux
        assert {name: getattr(linux, name) for name in wanted} == wanted
        assert kernel(shim, container, "memory", "memory.limit_in_bytes", "memory.max") == str(
            wanted["memory_limit_in_bytes"]
        )
    removing(shim, pod).result(60)


def kernel(shim: Shim, container: str, controller: str, v1: str, v2: str) -> str:
    """A limit as the kernel has it."""
    verbose = cri.ContainerStatusRequest(container_id=container, verbose=True)
    group = shim.runtime.ContainerStatus(verbose).info["cgroup"].lstrip("/")
    old, new = Path("/sys/fs/cgroup", controller, group, v1), Path("/sys/fs/cgroup", group, v2)
    return (old if old.exists() else new).read_text().strip()


def test_starts_of_one_container(shim: Shim, image: str, handler: str) -> None:
    """One starts it; the others are refused and leave its record alone."""
    pod = pods.run_pod(shim, handler=handler)
    container = pods.create(shim, pod, pods.container_config(image))
    request = cri.StartContainerRequest(container_id=container)
    calls = [shim.runtime.StartContainer.future(request) for _ in range(3)]
    codes = sorted(refused(call) for call in calls)
    assert codes == ["", "FAILED_PRECONDITION", "FAILED_PRECONDITION"]
    assert pods.status(shim, container).state == cri.CONTAINER_RUNNING
    removing(shim, pod).result(60)


@pytest.mark.parametrize("verbs", [("stop",), ("remove",), ("stop", "remove")])
def test_a_create_in_a_pod_that_goes(shim: Shim, image: str, verbs: Sequence[str]) -> None:
    """A container is made in a ready pod or not at all; none outlives its pod."""
    for _ in range(3):
        pod = pods.run_pod(shim)
        config = pods.container_config(image)
        pods.share_network(config, pods.pod_config())
        request = cri.CreateContainerRequest(pod_sandbox_id=pod, config=config)
        create = shim.runtime.CreateContainer.future(request)
        reached(shim)
        calls = [{"stop": stopping, "remove": removing}[verb](shim, pod) for verb in verbs]
        assert [refused(call) for call in calls] == [""] * len(calls)
        assert refused(create) in ("", "FAILED_PRECONDITION", "NOT_FOUND")
        removing(shim, pod).result(60)
        listed = shim.runtime.ListContainers(cri.ListContainersRequest()).containers
        assert [c.id for c in listed] == []
        assert shim.leftovers() == []


def test_a_client_that_leaves_a_stop(
    shim: Shim, image: str, agent: tuple[GatedAgent, Path]
) -> None:
    """What it began is finished by the next call."""
    gated, _ = agent
    pod = pods.run_pod(shim)
    pods.run_container(shim, pod, pods.container_config(image))
    gated.releasing.clear()
    gated.gate.clear()
    left = stopping(shim, pod)
    assert gated.releasing.wait(20)
    left.cancel()
    gated.gate.set()
    assert [refused(stopping(shim, pod)), refused(removing(shim, pod))] == ["", ""]
    assert shim.leftovers() == []
