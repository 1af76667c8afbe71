"""The publisher of events: order of times, bounds of queues, what an event carries."""

import asyncio
import dataclasses
from itertools import repeat

from cri_shim.model.container import Container, ContainerSpec
from cri_shim.model.events import EventType
from cri_shim.model.ids import ContainerId, ImageId, SandboxId
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox, SandboxMetadata, SandboxSpec
from cri_shim.store.view import View
from cri_shim.upkeep.events import QUEUE, Events

POD = SandboxId("p" * 64)
SANDBOX = Sandbox(
    id=POD,
    spec=SandboxSpec(SandboxMetadata("p", "u", "n", 0)),
    state=SandboxState.READY,
    created_at=1,
    handler="runc",
)
CONTAINER = Container(
    id=ContainerId("c" * 64),
    sandbox_id=POD,
    spec=ContainerSpec("c", 0, "image"),
    state=ContainerState.RUNNING,
    created_at=1,
    image_id=ImageId("i"),
    image_name="image",
    handler="runc",
)


class Records:
    """What events need of a store: its view."""

    def __init__(self, *containers: Container, sandbox: Sandbox | None = SANDBOX) -> None:
        self.view = view(*containers, sandbox=sandbox)


def view(*containers: Container, sandbox: Sandbox | None = SANDBOX) -> View:
    sandboxes = {} if sandbox is None else {sandbox.id: sandbox}
    by_id = {c.id: c for c in containers}
    return View(sandboxes, by_id, {POD: by_id} if by_id else {})


def publish(events: Events, count: int = 1) -> None:
    for _ in repeat(None, count):
        events.publish(CONTAINER.id, POD, EventType.STARTED)


async def test_times_increase_where_the_clock_stands_or_runs_back() -> None:
    times = iter([100, 100, 50, 101, 200])
    events = Events(lambda: next(times), Records())
    with events.subscribe() as subscription:
        publish(events, 5)
        assert [(await subscription.next()).at for _ in range(5)] == [100, 101, 102, 103, 200]


async def test_a_slow_subscriber_loses_its_oldest_and_hurts_nobody() -> None:
    events = Events(lambda: 0, Records())
    with events.subscribe() as slow, events.subscribe() as quick:
        for number in range(1, QUEUE + 11):
            publish(events)
            assert (await quick.next()).at == number
        assert events.dropped == 10
        assert (await slow.next()).at == 11
    publish(events)
    assert events.dropped == 10


async def test_who_leaves_is_forgotten() -> None:
    events = Events(lambda: 0, Records())
    with events.subscribe() as waits:
        assert events.subscribers == 1
        task = asyncio.ensure_future(waits.next())
        await asyncio.sleep(0)
        task.cancel()
    assert events.subscribers == 0


async def test_an_event_keeps_the_states_of_its_moment() -> None:
    records = Records(CONTAINER)
    events = Events(lambda: 0, records)
    with events.subscribe() as subscription:
        publish(events)
        records.view = view(dataclasses.replace(CONTAINER, state=ContainerState.EXITED))
        publish(events)
        records.view = view(dataclasses.replace(CONTAINER, state=ContainerState.REMOVING))
        publish(events)
        found = [(await subscription.next()).containers for _ in range(3)]
    states = [[c.state for c in containers] for containers in found]
    assert states == [[ContainerState.RUNNING], [ContainerState.EXITED], []]


async def test_a_pod_that_is_gone_needs_its_last_record() -> None:
    events = Events(lambda: 0, Records(sandbox=None))
    with events.subscribe() as subscription:
        publish(events)
        events.publish(POD, POD, EventType.DELETED, gone=SANDBOX)
        event = await subscription.next()
    assert (event.type, event.sandbox, event.containers) == (EventType.DELETED, SANDBOX, ())
