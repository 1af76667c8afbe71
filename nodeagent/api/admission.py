"""berth.admission.v1: pods that the runtime asks for, announces and releases.

Messages are turned into `Pod` here; what is done is in `duties`. The messages' meaning is in
proto/berth/pb/admission_v1.proto.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from berth.pb import admission_v1_pb2 as pb
from berth.pb.admission_v1_pb2_grpc import PodAdmissionServicer
from nodeagent.allocator.values.operation import OperationRefused
from nodeagent.api.faults import errors_as_status
from nodeagent.api.messages import nanoseconds
from nodeagent.duties.admit import Admitted, account, admit
from nodeagent.duties.pods import Pod
from nodeagent.duties.reclaim import watch_revocations
from nodeagent.duties.release import release, release_absent
from nodeagent.ledger.ledger import Ledger


class PodAdmission(PodAdmissionServicer):
    """Serves the protocol from the ledger. `queues`: Kueue's local queues to leaves of the plan."""

    def __init__(self, ledger: Ledger, queues: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._queues = queues

    async def Admit(self, request: pb.AdmitRequest, context: Any) -> pb.AdmitResponse:
        async with errors_as_status(context):
            pod = _pod(request)
            if request.running:
                # It cannot be refused any more: once it is accounted for, it is admitted.
                await account(self._ledger, pod, self._queues)
            answer = await admit(self._ledger, pod, self._queues)
            if isinstance(answer, Admitted):
                return pb.AdmitResponse(admitted=pb.Admitted(consumer=answer.consumer))
            held = pb.Held(
                consumer=answer.consumer,
                shortage=dict(answer.shortage),
                deadline=nanoseconds(answer.deadline),
                text=answer.text,
                refused=answer.refused,
            )
            return pb.AdmitResponse(held=held)

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:
        async with errors_as_status(context):
            _check_uid(request.pod_uid)
            await release(self._ledger, request.pod_uid)
            return pb.ReleaseResponse()

    async def Announce(self, request: pb.AnnounceRequest, context: Any) -> pb.AnnounceResponse:
        async with errors_as_status(context):
            pods = [_pod(message) for message in request.pods]
            # Pods whose Admit is under way may have been granted and not yet be among the runtime's
            # pods; a release would take their grant away again.
            present = {pod.uid for pod in pods} | set(request.asking)
            # Released first: units of pods that ended meanwhile are then free for pods that run,
            # which would otherwise be accounted to the system.
            await release_absent(self._ledger, present)
            for pod in pods:
                await account(self._ledger, pod, self._queues)
            return pb.AnnounceResponse()

    async def Revoked(
        self, request: pb.RevokedRequest, context: Any
    ) -> AsyncIterator[pb.RevokedPod]:
        async with errors_as_status(context):
            async for it in watch_revocations(self._ledger):
                yield pb.RevokedPod(
                    pod_uid=it.uid, claimant=it.claimant, deadline=nanoseconds(it.deadline)
                )


def _pod(message: pb.AdmitRequest) -> Pod:
    _check_uid(message.pod_uid)
    return Pod(
        uid=message.pod_uid,
        namespace=message.namespace,
        name=message.name,
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        requested=dict(message.requested),
        estimated=message.estimated,
        system=message.system,
    )


def _check_uid(uid: str) -> None:
    if not uid:
        raise OperationRefused("pod_uid", "is empty", "the uid of a pod")
