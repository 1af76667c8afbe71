"""GetContainerEvents, as the kubelet's evented PLEG reads it."""

import concurrent.futures
import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

CREATED, STARTED = cri.CONTAINER_CREATED_EVENT, cri.CONTAINER_STARTED_EVENT
STOPPED, DELETED = cri.CONTAINER_STOPPED_EVENT, cri.CONTAINER_DELETED_EVENT


class Subscriber:
    """Reads the stream on a thread; the subscription is on before it is given out."""

    def __init__(self, shim: Shim) -> None:
        self.call = shim.runtime.GetContainerEvents(cri.GetEventsRequest())
        self.call.initial_metadata()
        self._events: queue.Queue[cri.ContainerEventResponse] = queue.Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for event in self.call:
                self._events.put(event)

    def until(self, id_: str, type_: Any) -> list[cri.ContainerEventResponse]:
        """All events up to this one."""
        found: list[cri.ContainerEventResponse] = []
        while not found or (found[-1].container_id, found[-1].container_event_type) != (id_, type_):
            found.append(self._events.get(timeout=20))
        return found

    def close(self) -> None:
        self.call.cancel()
        self._thread.join(timeout=10)


@pytest.fixture
def subscriber(shim: Shim) -> Iterator[Subscriber]:
    found = Subscriber(shim)
    yield found
    found.close()


def counters(shim: Shim) -> dict[str, int]:
    answer = shim.runtime.Status(cri.StatusRequest(verbose=True))
    found: dict[str, int] = json.loads(answer.info["events"])
    return found


def whole_life(shim: Shim, image: str, handler: str) -> tuple[str, str]:
    pod = pods.run_pod(shim, handler=handler)
    container = pods.run_container(shim, pod, pods.container_config(image))
    pods.stop(shim, container)
    shim.runtime.StopPodSandbox(cri.StopPodSandboxRequest(pod_sandbox_id=pod))
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
    return pod, container


def test_the_life_of_a_pod(shim: Shim, image: str, handler: str, subscriber: Subscriber) -> None:
    pod, container = whole_life(shim, image, handler)
    events = subscriber.until(pod, DELETED)
    assert [(e.container_id, e.container_event_type) for e in events] == [
        (pod, CREATED),
        (pod, STARTED),
        (container, CREATED),
        (container, STARTED),
        (container, STOPPED),
        (pod, STOPPED),
        (container, DELETED),
        (pod, DELETED),
    ]
    times = [e.created_at for e in events]
    assert times == sorted(set(times))


def test_each_event_has_the_status_of_its_moment(
    shim: Shim, image: str, handler: str, subscriber: Subscriber
) -> None:
    """Read when all is over: what it says of then must not be what is now."""
    pod, container = whole_life(shim, image, handler)
    events = subscriber.until(pod, DELETED)
    assert {e.pod_sandbox_status.id for e in events} == {pod}
    assert all(e.pod_sandbox_status.metadata.uid for e in events)
    seen = [
        (e.container_event_type, [(s.id, s.state, s.exit_code) for s in e.containers_statuses])
        for e in events
        if e.container_id == container
    ]
    assert seen == [
        (CREATED, [(container, cri.CONTAINER_CREATED, 0)]),
        (STARTED, [(container, cri.CONTAINER_RUNNING, 0)]),
        (STOPPED, [(container, cri.CONTAINER_EXITED, 137)]),
        (DELETED, []),
    ]
    of_pod = [e.pod_sandbox_status.state for e in events if e.container_id == pod]
    ready, not_ready = cri.SANDBOX_READY, cri.SANDBOX_NOTREADY
    assert of_pod == [ready, ready, not_ready, not_ready]


def test_an_end_by_itself_is_told(
    shim: Shim, image: str, handler: str, subscriber: Subscriber
) -> None:
    pod = pods.run_pod(shim, handler=handler)
    command = ["/bin/sh", "-c", "exit 4"]
    container = pods.run_container(shim, pod, pods.container_config(image, command))
    last = subscriber.until(container, STOPPED)[-1]
    assert [s.exit_code for s in last.containers_statuses] == [4]
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def test_subscribers_see_the_same(shim: Shim, image: str, subscriber: Subscriber) -> None:
    second = Subscriber(shim)
    pod, _ = whole_life(shim, image, "runc")
    assert subscriber.until(pod, DELETED) == second.until(pod, DELETED)
    second.close()


def test_who_leaves_frees_its_queue(shim: Shim) -> None:
    before = counters(shim)["subscribers"]
    several = [Subscriber(shim) for _ in range(3)]
    assert counters(shim)["subscribers"] == before + 3
    for one in several:
        one.close()
    pods.until(lambda: counters(shim)["subscribers"] == before, "queues freed")


def test_a_slow_subscriber_is_bounded(shim: Shim) -> None:
    """It reads nothing: what does not fit in its queue is dropped, counted, and hurts nobody."""
    slow = shim.runtime.GetContainerEvents(cri.GetEventsRequest())
    slow.initial_metadata()
    big = {"note": "x" * 60_000}

    def churn(_: int) -> None:
        pod = pods.run_pod(shim, pods.pod_config(annotations=big))
        shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(300)))
    assert counters(shim)["dropped"] > 0
    quick = Subscriber(shim)
    pod = pods.run_pod(shim)
    assert len(quick.until(pod, STARTED)) == 2
    quick.close()
    slow.cancel()
    pods.until(lambda: counters(shim)["subscribers"] == 0, "queue freed")
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
