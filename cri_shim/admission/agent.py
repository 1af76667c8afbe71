"""Admission by the agent on its socket; with or without it, depending on the mode.

One background task keeps the agent informed, from the first `announce` on (recovery calls it; only
then is it known which pods run):

                agent reached                    connection breaks, or a call failed
    announce ───────────────────> listen for ───────────────────────────────────────┐
    every pod                     revoked grants                                    │
       ^                                                                            │
       └──────────────── pause, 0.1 to 1 s, while the agent is not there ───────────┘

Announcing every pod again is what repairs everything: a release that failed, a pod admitted while
the agent was down, a kill -9 of either side. So no call is queued or repeated by itself.
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
"""Seconds for one call; kubelet waits for the create meanwhile."""
# gRPC doubles its own pause between connection attempts up to two minutes: pods would be admitted
# unasked, or wait, long after the agent is back.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_OPTIONS = [("grpc.max_reconnect_backoff_ms", 1000), ("grpc.initial_reconnect_backoff_ms", 100)]


class AgentAdmission:
    """An `Admission` that asks the agent.

    While the agent cannot be reached, mode `optional` admits every pod, and the agent accounts for
    it once it is back; mode `required` lets it wait (Unavailable).
    """

    enabled = True

    def __init__(self, socket: str, mode: Literal["optional", "required"], tasks: Tasks) -> None:
        self._socket = socket
        self._mode = mode
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        self._stub = PodAdmissionStub(self._channel)
        # What an announcement says: pods admitted and not released, by uid.
        self._pods: dict[str, AdmitRequest] = {}
        # Calls of Admit under way by uid; kubelet may ask twice for one pod at one time.
        self._asking: dict[str, int] = {}
        self._revoked: dict[str, str] = {}
        # Set while no announcement is being sent.
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
                response = await self._stub.Admit(encode(request), timeout=DEADLINE)
            except grpc.aio.AioRpcError as error:
                self._unanswered(request, error)
            else:
                if response.WhichOneof("answer") == "held":
                    raise held(request, response.held)
            self._pods[request.pod_uid] = request

    @asynccontextmanager
    async def _question(self, uid: str) -> AsyncIterator[None]:
        """A call of Admit: it starts in no announcement, and one that starts meanwhile names it.

        The agent drops what an announcement does not have. A pod that is just being admitted must
        neither be dropped nor announced as running.
        """
        await self._quiet.wait()
        self._asking[uid] = self._asking.get(uid, 0) + 1
        try:
            yield
        finally:
            self._asking[uid] -= 1
            if not self._asking[uid]:
                del self._asking[uid]

    def _unanswered(self, request: AdmitRequest, error: grpc.aio.AioRpcError) -> None:
        """Admit the pod without the agent, or raise."""
        why = f"{error.code().name}: {error.details()}"
        if self._mode == "required":
            raise Unavailable(
                f"pod {request.namespace}/{request.name} cannot be admitted: the agent at "
                f"{self._socket} does not answer ({why}); start nodeagent, or set admission.mode "
                "to optional"
            ) from error
        if self._reachable:
            log.warning("the agent does not answer (%s): pods are admitted until it does", why)
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
            self._tell_again()  # the pod is missing in the next announcement

    def announce(self, pods: Iterable[AdmitRequest]) -> None:
        """See `Admission.announce`."""
        self._pods = {pod.pod_uid: pod for pod in pods}
        self._announced.set()
        self._tell_again()

    def revoked(self, pod_uid: str) -> str | None:
        """Why the pod must not get new containers, None if it may."""
        return self._revoked.get(pod_uid)

    def _tell_again(self) -> None:
        """Announce all pods once more, as soon as possible."""
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
            # Without a pause where only `_tell_again` ended the stream.
            if not self._untold or not self._reachable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _tell_all(self) -> None:
        """Announce every pod that runs; meanwhile no call to admit or release begins."""
        self._quiet.clear()
        try:
            # Before the call: what changes during it needs another one.
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
        """Receive revoked grants until the connection breaks or pods must be announced again."""
        # The agent begins with all that are revoked now; a pod not among them has its grant.
        call = self._listening = self._stub.Revoked(pb.RevokedRequest())
        self._revoked.clear()
        try:
            if not self._untold:
                async for pod in call:
                    self._revoked[pod.pod_uid] = f"its grant was reclaimed for {pod.claimant}"
        except asyncio.CancelledError:
            # grpc.aio raises it for a call cancelled by `_tell_again` as for a cancelled task.
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
