"""Admission by the agent on its socket; with or without it, depending on the mode.

One background task keeps the agent informed, from the first `announce` on (before it nobody knows
which pods run): whenever the agent can be reached (again) it announces every pod that runs, then
listens for revoked grants until the connection breaks. Whatever could not be told in between is
thereby told, in both directions.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Literal

import grpc

from berth.base.errors import Unavailable
from berth.linux.tasks import Tasks
from berth.pb import admission_v1_pb2 as pb
from berth.pb.admission_v1_pb2_grpc import PodAdmissionStub
from cri_shim.admission.contract import Admission, AdmissionOff, AdmitRequest
from cri_shim.admission.messages import encode, held

log = logging.getLogger(__name__)

DEADLINE = 2.0
"""Seconds the agent has for an answer."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_OPTIONS = [("grpc.max_reconnect_backoff_ms", 1000), ("grpc.initial_reconnect_backoff_ms", 100)]


class AgentAdmission:
    """An `Admission` that asks the agent.

    In mode `optional` an agent that does not answer lets every pod in and accounts for it once it
    is back; in mode `required` such pods wait.
    """

    enabled = True

    def __init__(self, socket: str, mode: Literal["optional", "required"], tasks: Tasks) -> None:
        self._socket = socket
        self._mode = mode
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        self._stub = PodAdmissionStub(self._channel)
        self._pods: dict[str, AdmitRequest] = {}
        self._asking: dict[str, int] = {}
        self._revoked: dict[str, str] = {}
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._announced = asyncio.Event()
        self._listening: grpc.aio.Call | None = None
        self._untold = False
        self._reachable = True
        tasks.start(self._keep_informed(), "admission: keep the agent informed")

    async def admit(self, request: AdmitRequest) -> None:
        """See `Admission.admit`."""
        async with self._question(request.pod_uid):
            try:
                answer = await self._stub.Admit(encode(request), timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                self._unanswered(request, error)
            else:
                if answer.WhichOneof("answer") == "held":
                    raise held(request, answer.held)
            self._pods[request.pod_uid] = request

    @asynccontextmanager
    async def _question(self, uid: str) -> AsyncIterator[None]:
        """A call of Admit under way: an announcement leaves this pod out, and none starts in it."""
        await self._quiet.wait()
        self._asking[uid] = self._asking.get(uid, 0) + 1
        try:
            yield
        finally:
            self._asking[uid] -= 1
            if not self._asking[uid]:
                del self._asking[uid]

    def _unanswered(self, request: AdmitRequest, error: grpc.aio.AioRpcError) -> None:
        """Let the pod in without an answer, or raise."""
        why = f"{error.code().name}: {error.details()}"
        if self._mode == "required":
            raise Unavailable(
                f"pod {request.namespace}/{request.name} cannot be admitted: the agent at "
                f"{self._socket} does not answer ({why}); start nodeagent, or set admission.mode "
                "to optional"
            ) from error
        if self._reachable:
            log.warning("the agent does not answer (%s): pods enter unasked until it does", why)
            self._reachable = False
        self._tell_again()

    async def release(self, pod_uid: str) -> None:
        """See `Admission.release`."""
        self._pods.pop(pod_uid, None)
        self._revoked.pop(pod_uid, None)
        await self._quiet.wait()
        try:
            await self._stub.Release(pb.ReleaseRequest(pod_uid=pod_uid), timeout=DEADLINE)
        except grpc.aio.AioRpcError:
            self._tell_again()

    def announce(self, pods: Iterable[AdmitRequest]) -> None:
        """See `Admission.announce`."""
        self._pods = {pod.pod_uid: pod for pod in pods}
        self._announced.set()
        self._tell_again()

    def revoked(self, pod_uid: str) -> str | None:
        """Why the pod must not get new containers, None if it may."""
        return self._revoked.get(pod_uid)

    def _tell_again(self) -> None:
        self._untold = True
        if self._listening is not None:
            self._listening.cancel()

    async def _keep_informed(self) -> None:
        await self._announced.wait()
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._tell_all()
                pause = _FIRST_PAUSE
                await self._listen()
            except grpc.aio.AioRpcError as error:
                log.debug("agent at %s: %s", self._socket, error.details())
            if not self._untold or not self._reachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _tell_all(self) -> None:
        """Announce every pod that runs; meanwhile nothing is asked and nothing released."""
        self._quiet.clear()
        try:
            self._untold = False
            asking = set(self._asking)
            pods = [encode(pod, True) for uid, pod in self._pods.items() if uid not in asking]
            message = pb.AnnounceRequest(pods=pods, asking=sorted(asking))
            await self._stub.Announce(message, timeout=DEADLINE)
        finally:
            self._quiet.set()
        if not self._reachable:
            log.info("the agent answers again; %d pods announced", len(pods))
            self._reachable = True

    async def _listen(self) -> None:
        """Hear of revoked grants until the connection breaks or something was left untold."""
        call = self._listening = self._stub.Revoked(pb.RevokedRequest())
        self._revoked.clear()
        try:
            if not self._untold:
                async for pod in call:
                    self._revoked[pod.pod_uid] = f"its grant was reclaimed for {pod.claimant}"
        except asyncio.CancelledError:
            # Raised for a cancelled call as for a cancelled task.
            task = asyncio.current_task()
            if task is None or task.cancelling() or not self._untold:
                raise
        finally:
            self._listening = None
            call.cancel()

    async def close(self) -> None:
        """Close the connection; the background task belongs to `tasks`."""
        await self._channel.close(None)


def admission_for(
    mode: Literal["off", "optional", "required"], socket: str, tasks: Tasks
) -> Admission:
    """The admission of a configured mode; its background work belongs to `tasks`."""
    match mode:
        case "off":
            return AdmissionOff()
        case "optional" | "required":
            return AgentAdmission(socket, mode, tasks)
