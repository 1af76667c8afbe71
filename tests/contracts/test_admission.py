"""The contract of `Admission`: what the verbs may rely on, with, without and beside an agent.

How the agent is asked, and what it is told after a failure, is in tests/cri_shim/admission.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from berth.linux.tasks import Tasks
from cri_shim.admission.agent import AgentAdmission, admission_for
from cri_shim.admission.contract import Admission, AdmissionOff, AdmitRequest
from cri_shim.model.resources import LinuxResources
from tests.cri_shim.admission.scripted_agent import ScriptedAgent, serving

POD = AdmitRequest(
    pod_uid="u1",
    namespace="ns",
    name="web",
    attempt=0,
    labels={},
    annotations={},
    cgroup_parent="/kubepods/podu1",
    resources=LinuxResources(cpu_shares=1024),
    overhead=LinuxResources(),
)


@pytest.fixture
def agent() -> ScriptedAgent:
    return ScriptedAgent()


@pytest.fixture(params=["off", "optional", "required", "optional and the agent is away"])
async def admission(
    request: pytest.FixtureRequest, tmp_path: Path, agent: ScriptedAgent
) -> AsyncIterator[Admission]:
    """One that admits."""
    mode, _, absent = request.param.partition(" ")
    socket = tmp_path / "node.sock"
    async with AsyncExitStack() as stack:
        if not absent:
            await stack.enter_async_context(serving(agent, socket))
        tasks = await stack.enter_async_context(Tasks())
        made = admission_for(mode, str(socket), tasks)
        made.announce([])
        yield made
        if isinstance(made, AgentAdmission):
            await made.close()


async def test_a_pod_is_admitted_and_asking_again_is_the_same(admission: Admission) -> None:
    for _ in range(2):
        await admission.admit(POD)
    assert admission.revoked(POD.pod_uid) is None


async def test_a_release_never_fails(admission: Admission) -> None:
    await admission.release("never admitted")
    await admission.admit(POD)
    for _ in range(2):
        await admission.release(POD.pod_uid)
    assert admission.revoked(POD.pod_uid) is None


async def test_a_released_pod_may_come_again(admission: Admission) -> None:
    await admission.admit(POD)
    await admission.release(POD.pod_uid)
    await admission.admit(replace(POD, attempt=1))


async def test_pods_are_announced_at_any_time(admission: Admission) -> None:
    admission.announce([POD, replace(POD, pod_uid="u2")])
    await admission.admit(replace(POD, pod_uid="u3"))
    admission.announce([])


async def test_only_where_grants_exist_must_they_be_released(admission: Admission) -> None:
    assert admission.enabled is not isinstance(admission, AdmissionOff)
