"""berth.admission.v1: pods asked for, announced and released by the runtime."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from berth.pb import admission_v1_pb2 as pb
from berth.pb.admission_v1_pb2_grpc import PodAdmissionServicer
from nodeagent.allocator.values.operation import OperationRefused
from nodeagent.api.faults import answered
from nodeagent.api.messages import nanoseconds
from nodeagent.duties.admit import Admitted, account, admit
from nodeagent.duties.pods import Pod
from nodeagent.duties.reclaim import watch_revocations
from nodeagent.duties.release import release, release_absent
from nodeagent.ledger.ledger import Ledger


class PodAdmission(PodAdmissionServicer):
    """Serves the contract from the ledger's allocator. `queues`: Kueue queues to leaves."""

    def __init__(self, ledger: Ledger, queues: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._queues = queues

    async def Admit(self, request: pb.AdmitRequest, context: Any) -> pb.AdmitResponse:
        async with answered(context):
            pod = _pod(request)
            if request.running:
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
        async with answered(context):
            _check_uid(request.pod_uid)
            await release(self._ledger, request.pod_uid)
            return pb.ReleaseResponse()

    async def Announce(self, request: pb.AnnounceRequest, context: Any) -> pb.AnnounceResponse:
        async with answered(context):
            pods = [_pod(message) for message in request.pods]
            present = {pod.uid for pod in pods} | set(request.asking)
            await release_absent(self._ledger, present)
            for pod in pods:
                await account(self._ledger, pod, self._queues)
            return pb.AnnounceResponse()

    async def Revoked(
        self, request: pb.RevokedRequest, context: Any
    ) -> AsyncIterator[pb.RevokedPod]:
        async with answered(context):
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
