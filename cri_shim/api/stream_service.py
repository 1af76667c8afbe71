"""The calls of runtime.v1.RuntimeService that return many messages, and the streaming URLs."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from berth.pb import runtime_v1_pb2 as cri
from cri_shim.api import encode, messages
from cri_shim.api.messages import chunks, required
from cri_shim.context import Context
from cri_shim.model.events import Event
from cri_shim.verbs import queries
from cri_shim.verbs.streams import Streams


class Urls(Protocol):
    """URLs on the streaming server, good once and for a minute."""

    def exec(
        self, container_id: str, command: Sequence[str], tty: bool, stdin: bool, stdout: bool,
        stderr: bool,
    ) -> str: ...  # fmt: skip

    def attach(
        self, container_id: str, tty: bool, stdin: bool, stdout: bool, stderr: bool
    ) -> str: ...

    def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str: ...


class StreamService:
    """Method names are the protocol's."""

    def __init__(self, ctx: Context, streams: Streams, urls: Urls) -> None:
        self._ctx = ctx
        self._streams = streams
        self._urls = urls

    async def Exec(self, r: cri.ExecRequest) -> cri.ExecResponse:
        container = self._streams.check_container(required(r.container_id, "container_id"), "exec")
        url = self._urls.exec(container.id, r.cmd, r.tty, r.stdin, r.stdout, r.stderr)
        return cri.ExecResponse(url=url)

    async def Attach(self, r: cri.AttachRequest) -> cri.AttachResponse:
        container = self._streams.check_container(
            required(r.container_id, "container_id"), "attach"
        )
        url = self._urls.attach(container.id, r.tty, r.stdin, r.stdout, r.stderr)
        return cri.AttachResponse(url=url)

    async def PortForward(self, r: cri.PortForwardRequest) -> cri.PortForwardResponse:
        sandbox_id = self._streams.check_sandbox(required(r.pod_sandbox_id, "pod_sandbox_id"))
        return cri.PortForwardResponse(url=self._urls.port_forward(sandbox_id, r.port))

    async def StreamPodSandboxes(
        self, request: cri.StreamPodSandboxesRequest
    ) -> AsyncGenerator[cri.StreamPodSandboxesResponse, None]:
        f = request.filter
        found = queries.sandboxes(self._ctx.store.view, f.id, messages.ready(f), f.label_selector)
        for part in chunks(found):
            yield cri.StreamPodSandboxesResponse(
                pod_sandboxes=[encode.sandbox_entry(s) for s in part]
            )

    async def StreamContainers(
        self, request: cri.StreamContainersRequest
    ) -> AsyncGenerator[cri.StreamContainersResponse, None]:
        f = request.filter
        state = messages.container_state(f)
        view = self._ctx.store.view
        found = queries.containers(view, f.id, f.pod_sandbox_id, state, f.label_selector)
        for part in chunks(found):
            yield cri.StreamContainersResponse(containers=[encode.container_entry(c) for c in part])

    async def GetContainerEvents(
        self, request: cri.GetEventsRequest
    ) -> AsyncGenerator[cri.ContainerEventResponse | None, None]:
        """Events from now on."""
        with self._ctx.events.subscribe() as subscription:
            # Sends the headers: the client learns that it will miss nothing from here on. Without
            # them it cannot tell an open stream from one that is still being opened.
            yield None
            while True:
                yield _event(await subscription.next())


def _event(event: Event) -> cri.ContainerEventResponse:
    return cri.ContainerEventResponse(
        container_id=event.container_id,
        container_event_type=cri.ContainerEventType.Name(event.type.value),
        created_at=event.at,
        pod_sandbox_status=encode.sandbox_status(event.sandbox),
        containers_statuses=[encode.container_status(c) for c in event.containers],
    )
