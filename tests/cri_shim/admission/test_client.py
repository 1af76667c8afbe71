"""The shim's side of admission: what is asked, what a refusal says, and an agent that is away."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from berth.base.errors import ResourceExhausted, Unavailable
from berth.linux.tasks import Tasks
from berth.pb import admission_v1_pb2 as pb
from cri_shim.admission import agent as client
from cri_shim.admission.agent import AgentAdmission, admission_for
from cri_shim.admission.contract import AdmissionOff, AdmitRequest
from cri_shim.model.resources import LinuxResources
from tests.cri_shim.admission.scripted_agent import ScriptedAgent, serving

POD = AdmitRequest(
    pod_uid="u1",
    namespace="ns",
    name="web",
    attempt=2,
    labels={"berth.dev/consumer": "research"},
    annotations={"a": "b"},
    cgroup_parent="/kubepods/podu1",
    resources=LinuxResources(cpu_shares=1536, memory_limit=1 << 30, unified={"memory.min": "4096"}),
    overhead=LinuxResources(cpu_shares=102, memory_limit=1024, hugepages=(("2MB", 4 << 20),)),
)
HELD = pb.Held(
    consumer="research",
    shortage={"cpu": 1500, "memory": 512 << 20, "nvidia.com/gpu": 1},
    deadline=1_800_000_000 * 10**9,
    text="reclaiming",
)


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    async with Tasks() as owner:
        yield owner


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "node.sock"


@pytest.fixture
async def scripted(socket: Path) -> AsyncIterator[ScriptedAgent]:
    agent = ScriptedAgent()
    async with serving(agent, socket):
        yield agent


def asking(
    socket: Path, tasks: Tasks, mode: Literal["optional", "required"] = "required"
) -> AgentAdmission:
    admission = AgentAdmission(str(socket), mode, tasks)
    admission.announce([])
    return admission


async def test_the_pod_is_told_as_cri_shows_it(
    scripted: ScriptedAgent, socket: Path, tasks: Tasks
) -> None:
    admission = asking(socket, tasks)
    await admission.admit(POD)
    assert scripted.asked == [
        pb.AdmitRequest(
            pod_uid="u1",
            namespace="ns",
            name="web",
            attempt=2,
            labels=POD.labels,
            annotations=POD.annotations,
            cgroup_parent="/kubepods/podu1",
            requested={"cpu": 1599, "memory": 5120, "hugepages-2Mi": 4 << 20},
            estimated=True,
        )
    ]
    await admission.release("u1")
    assert scripted.released == ["u1"]
    await admission.close()


@pytest.mark.parametrize("mode", ["optional", "required"])
async def test_a_held_pod_hears_consumer_shortage_and_deadline(
    scripted: ScriptedAgent, socket: Path, tasks: Tasks, mode: Literal["optional", "required"]
) -> None:
    admission = asking(socket, tasks, mode)
    scripted.answer = pb.AdmitResponse(held=HELD)
    with pytest.raises(ResourceExhausted) as caught:
        await admission.admit(POD)
    assert str(caught.value) == (
        "pod ns/web is held: consumer research, shortage cpu 1500m, memory 512Mi, nvidia.com/gpu 1,"
        " deadline 2027-01-15T08:00:00Z: reclaiming"
    )
    scripted.answer = pb.AdmitResponse(held=pb.Held(text="no such consumer", refused=True))
    with pytest.raises(ResourceExhausted, match=r"is refused: consumer \(none\), deadline none"):
        await admission.admit(POD)
    await admission.close()


async def test_static_pods_say_so(scripted: ScriptedAgent, socket: Path, tasks: Tasks) -> None:
    admission = asking(socket, tasks)
    for key, value in (("source", "file"), ("source", "http"), ("mirror", "x"), ("source", "api")):
        await admission.admit(replace(POD, annotations={f"kubernetes.io/config.{key}": value}))
    assert [it.system for it in scripted.asked] == [True, True, True, False]
    await admission.close()


async def test_required_and_absent_waits(socket: Path, tasks: Tasks) -> None:
    admission = asking(socket, tasks)
    with pytest.raises(Unavailable, match=r"start nodeagent, or set admission\.mode to optional"):
        await admission.admit(POD)
    await admission.release("u1")
    await admission.close()


async def test_optional_and_absent_enters_and_is_announced_later(
    socket: Path, tasks: Tasks
) -> None:
    admission = asking(socket, tasks, "optional")
    await admission.admit(POD)
    await admission.admit(replace(POD, pod_uid="u2"))
    await admission.release("u1")
    agent = ScriptedAgent()
    async with serving(agent, socket):
        told = await agent.announced.get()
        assert [(it.pod_uid, it.running, it.estimated) for it in told.pods] == [("u2", True, True)]
    await admission.close()


async def test_an_agent_that_hangs_counts_as_absent(
    scripted: ScriptedAgent, socket: Path, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "DEADLINE", 0.05)
    scripted.answer = None
    admission = asking(socket, tasks, "optional")
    await admission.admit(POD)
    while not (told := await scripted.announced.get()).pods:
        pass
    assert [it.pod_uid for it in told.pods] == ["u1"]
    await admission.close()


async def test_nothing_is_announced_before_it_is_known(
    scripted: ScriptedAgent, socket: Path, tasks: Tasks
) -> None:
    admission = AgentAdmission(str(socket), "required", tasks)
    await admission.admit(POD)
    await admission.admit(POD)
    assert scripted.announced.empty()
    admission.announce([POD])
    assert [it.pod_uid for it in (await scripted.announced.get()).pods] == ["u1"]
    await admission.close()


async def test_a_restarted_agent_hears_of_all_pods(socket: Path, tasks: Tasks) -> None:
    admission = asking(socket, tasks)
    admission.announce([POD])
    first, second = ScriptedAgent(), ScriptedAgent()
    async with serving(first, socket):
        assert [it.pod_uid for it in (await first.announced.get()).pods] == ["u1"]
        await admission.admit(replace(POD, pod_uid="u2"))
    async with serving(second, socket):
        assert {it.pod_uid for it in (await second.announced.get()).pods} == {"u1", "u2"}
    await admission.close()


async def test_a_release_that_failed_is_told_by_announcing_the_rest(
    scripted: ScriptedAgent, socket: Path, tasks: Tasks
) -> None:
    admission = asking(socket, tasks)
    await admission.admit(POD)
    await admission.admit(replace(POD, pod_uid="u2"))
    scripted.release_fails = True
    await admission.release("u1")
    while [it.pod_uid for it in (await scripted.announced.get()).pods] != ["u2"]:
        pass
    await admission.close()


async def test_pods_being_asked_for_are_left_out_of_an_announcement(
    scripted: ScriptedAgent, socket: Path, tasks: Tasks
) -> None:
    admission = asking(socket, tasks)
    assert not (await scripted.announced.get()).pods
    scripted.answer = None
    waiting = asyncio.ensure_future(admission.admit(POD))
    while not scripted.asked:
        await asyncio.sleep(0)
    admission.announce([replace(POD, pod_uid="u2")])
    while not (told := await scripted.announced.get()).pods:
        pass
    assert [it.pod_uid for it in told.pods] == ["u2"]
    assert list(told.asking) == ["u1"]
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await admission.close()


async def test_revoked_pods_are_known(scripted: ScriptedAgent, socket: Path, tasks: Tasks) -> None:
    admission = asking(socket, tasks)
    scripted.revocations.put_nowait(pb.RevokedPod(pod_uid="u1", claimant="owner"))
    while admission.revoked("u1") is None:
        await asyncio.sleep(0.001)
    assert admission.revoked("u1") == "its grant was reclaimed for owner"
    assert admission.revoked("u2") is None
    await admission.release("u1")
    assert admission.revoked("u1") is None
    await admission.close()


async def test_off_asks_nobody(tasks: Tasks) -> None:
    admission = admission_for("off", "/nowhere", tasks)
    assert isinstance(admission, AdmissionOff) and not admission.enabled
    await admission.admit(POD)
    assert len(tasks) == 0
