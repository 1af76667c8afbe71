"""Admission as protobuf: what is sent, and the words of what comes back."""

from datetime import UTC, datetime

from berth.base.errors import ResourceExhausted
from berth.pb import admission_v1_pb2 as pb
from cri_shim.admission.contract import AdmitRequest
from cri_shim.admission.quantities import is_static, rendered, requested


def encode(request: AdmitRequest, running: bool = False) -> pb.AdmitRequest:
    """The pod for the agent; `running` where it is announced and not asked for."""
    return pb.AdmitRequest(
        pod_uid=request.pod_uid,
        namespace=request.namespace,
        name=request.name,
        attempt=request.attempt,
        labels=dict(request.labels),
        annotations=dict(request.annotations),
        cgroup_parent=request.cgroup_parent,
        requested=requested(request),
        estimated=True,
        system=is_static(request),
        running=running,
    )


def held(request: AdmitRequest, answer: pb.Held) -> ResourceExhausted:
    """The error of a pod that must wait: consumer, shortage, deadline, reason."""
    pod = f"pod {request.namespace}/{request.name}"
    state = "is refused" if answer.refused else "is held"
    parts = [f"{pod} {state}: consumer {answer.consumer or '(none)'}"]
    if answer.shortage:
        parts.append(f"shortage {rendered(dict(answer.shortage))}")
    parts.append(f"deadline {_moment(answer.deadline)}")
    return ResourceExhausted(", ".join(parts) + (f": {answer.text}" if answer.text else ""))


def _moment(nanoseconds: int) -> str:
    if not nanoseconds:
        return "none"
    moment = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
