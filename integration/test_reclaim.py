"""Both daemons: an owner's pod arrives, the borrower gives back in time, the owner's pod runs."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.agent import NodeAgent, agent_running
from tests.support.shim import Shim, running

PLAN = """
apiVersion: berth.dev/v1alpha1
kind: ConsumerPlan
metadata: {name: pair}
spec:
  groups:
  - name: default
    windows:
    - when: always
      consumers:
      - {name: owner, own: {cpu: 3}, share: 0}
      - {name: borrower, own: {cpu: 1}, share: 1, grace: 1s}
"""
CAPACITY = "{cpu = 4, memory = 0}"


def pod_of(consumer: str, name: str, cores: int, **fields: Any) -> cri.PodSandboxConfig:
    config = pods.pod_config(name, labels={"berth.dev/consumer": consumer}, **fields)
    config.linux.resources.cpu_shares = 1024 * cores
    return config


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, layout: Path, handler_settings: dict[str, str]
) -> Iterator[tuple[Shim, NodeAgent]]:
    """Shim and agent, each knowing the other's socket; the shim lets no pod in unasked."""
    directory, place = tmp_path_factory.mktemp("shim"), tmp_path_factory.mktemp("agent")
    admission = {"admission.mode": "required", "admission.socket": f"{place}/node.sock"}
    with (
        agent_running(place, PLAN, CAPACITY, f"{directory}/run/cri.sock") as agent,
        running(directory, handler_settings | admission) as shim,
    ):
        shim.load(layout, "example.org/busybox:1")
        yield shim, agent


@pytest.fixture
def shim(both: tuple[Shim, NodeAgent]) -> Iterator[Shim]:
    shim, _ = both
    yield shim
    for pod in shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items:
        remove(shim, pod.id)


@pytest.fixture
def agent(both: tuple[Shim, NodeAgent]) -> NodeAgent:
    return both[1]


def remove(shim: Shim, pod: str) -> None:
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def used(agent: NodeAgent) -> dict[str, int]:
    found = agent.consumers()
    return {name: one.used["cpu"] for name, one in found.items() if one.used["cpu"]}


def test_an_owner_reclaims_from_a_borrower(shim: Shim, agent: NodeAgent, image: str) -> None:
    config = pod_of("borrower", "loan", 4)
    loan = pods.run_pod(shim, config)
    container = pods.run_container(shim, loan, pods.container_config(image), config)
    assert agent.consumers()["borrower"].borrowed == {"cpu": 3000}
    mine = pod_of("owner", "mine", 3)
    with pytest.raises(grpc.RpcError) as refused:
        pods.run_pod(shim, mine)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    text = str(refused.value.details())
    assert re.match(
        r"pod test/mine is held: consumer owner, shortage cpu \d, deadline 20\d\d", text
    )
    assert "RECLAIM_NOTICE" in agent.explain("test/loan")
    pods.until_exited(shim, container)
    pods.until(lambda: "borrower" not in used(agent), "the borrower's units are free")
    owner = pods.run_pod(shim, mine)
    assert used(agent) == {"owner": 3000}
    for pod in (loan, owner):
        remove(shim, pod)
    pods.until(lambda: used(agent) == {}, "nothing is held")


def test_grants_survive_kill_9_of_either_daemon(shim: Shim, agent: NodeAgent) -> None:
    kept = pods.run_pod(shim, pod_of("owner", "kept", 2))
    gone = pods.run_pod(shim, pod_of("borrower", "gone", 1))
    held = {"owner": 2000, "borrower": 1000}
    agent.stop(signal.SIGKILL)
    with pytest.raises(grpc.RpcError) as unasked:
        pods.run_pod(shim, pod_of("owner", "unasked", 1))
    assert unasked.value.code() is grpc.StatusCode.UNAVAILABLE
    remove(shim, gone)
    agent.start()
    pods.until(lambda: used(agent) == {"owner": 2000}, "the agent heard what ended meanwhile")
    shim.restart()
    assert used(agent) == {"owner": 2000}
    again = pods.run_pod(shim, pod_of("borrower", "again", 1))
    assert used(agent) == held
    for pod in (kept, again):
        remove(shim, pod)
    pods.until(lambda: used(agent) == {}, "nothing is held")


def test_without_an_agent_optional_admission_lets_pods_in_and_accounts_later(
    tmp_path: Path, layout: Path, handler_settings: dict[str, str]
) -> None:
    place = tmp_path / "agent"
    admission = {"admission.mode": "optional", "admission.socket": f"{place}/node.sock"}
    with running(tmp_path / "shim", handler_settings | admission) as shim:
        pods.run_pod(shim, pod_of("borrower", "early", 2))
        with agent_running(place, PLAN, CAPACITY, shim.socket) as agent:
            pods.until(lambda: used(agent) == {"borrower": 2000}, "the pod is accounted for")
