"""A whole agent inside the test: real journal, real sockets, a clock that the test moves."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from berth.pb import admission_v1_pb2 as admission
from berth.pb import node_v1_pb2 as node
from berth.pb.admission_v1_pb2_grpc import PodAdmissionStub
from berth.pb.node_v1_pb2_grpc import NodeAllocatorStub
from nodeagent.config import Config
from nodeagent.daemon import running
from nodeagent.ledger.ledger import Ledger

START = 1_700_000_000_000
PLAN = """
apiVersion: berth.dev/v1alpha1
kind: ConsumerPlan
metadata: {name: two}
spec:
  groups:
  - name: default
    windows:
    - when: always
      consumers:
      - {name: owner, own: {slots: 8}, share: 0, namespaces: [prod], lendoutGrace: 60s}
      - {name: borrower, own: {slots: 2}, share: 1, grace: 30s}
"""


@dataclass(slots=True)
class Alarm:
    """An alarm of the virtual clock."""

    callback: Callable[[], None] | None

    def cancel(self) -> None:
        self.callback = None


@dataclass(slots=True)
class VirtualClock:
    """A clock that stands still until `advance`, and then fires what fell due."""

    moment: int = START
    alarms: list[tuple[int, int, Alarm]] = field(default_factory=list)
    numbers: Any = field(default_factory=count)

    def now(self) -> int:
        return self.moment

    def call_at(self, moment: int, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(callback)
        if moment <= self.moment:
            asyncio.get_running_loop().call_soon(callback)
            return alarm
        heapq.heappush(self.alarms, (moment, next(self.numbers), alarm))
        return alarm

    def advance(self, seconds: int) -> None:
        self.moment += seconds * 1000
        while self.alarms and self.alarms[0][0] <= self.moment:
            alarm = heapq.heappop(self.alarms)[2]
            if alarm.callback is not None:
                alarm.callback()


@dataclass(slots=True)
class Agent:
    """The agent and stubs of both protocols."""

    ledger: Ledger
    config: Config
    pods: Any
    node: Any

    async def status(self) -> node.StatusResponse:
        return await self.node.Status(node.StatusRequest())

    async def used(self) -> dict[str, int]:
        (group,) = (await self.status()).groups
        return {it.name: it.used["slots"] for it in group.consumers if it.used["slots"]}

    async def admit(self, uid: str, consumer: str, slots: int, **fields: Any) -> Any:
        """Ask for a pod; `admitted` or the Held message."""
        answer = await self.pods.Admit(pod(uid, consumer, slots, **fields))
        return "admitted" if answer.WhichOneof("answer") == "admitted" else answer.held

    async def release(self, uid: str) -> None:
        await self.pods.Release(admission.ReleaseRequest(pod_uid=uid))


def pod(uid: str, consumer: str, slots: int, **fields: Any) -> admission.AdmitRequest:
    values = {"namespace": "prod", "name": f"pod-{uid}", "estimated": True, **fields}
    labels = {"berth.dev/consumer": consumer} if consumer else {}
    return admission.AdmitRequest(
        pod_uid=uid, labels=labels, requested={"slots": slots, "cpu": 100}, **values
    )


def configured(directory: Path, plan: str | None = PLAN, **values: Any) -> Config:
    """A configuration below a directory; the plan file is written if a plan is given."""
    file = directory / "plan.yaml"
    if plan is not None:
        file.write_text(plan)
    places = {"socket": directory / "node.sock", "state": directory / "state", "plan": file}
    capacity = {"slots": 10, "cpu": 0, "memory": 0}
    return Config(
        **{**places, "cri_socket": directory / "cri.sock", "capacity": capacity, **values}
    )


@asynccontextmanager
async def agent_at(config: Config, clock: VirtualClock | None = None) -> AsyncIterator[Agent]:
    async with (
        running(config, clock or VirtualClock()) as ledger,
        grpc.aio.insecure_channel(f"unix:{config.socket}") as channel,
    ):
        stubs: list[Any] = [PodAdmissionStub, NodeAllocatorStub]
        yield Agent(ledger, config, *(stub(channel) for stub in stubs))
