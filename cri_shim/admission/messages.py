"""Admission as protobuf: the request that is sent, and the error of a pod that must wait."""

from berth.base.errors import ResourceExhausted
from berth.base.quantity import render_vector
from berth.base.timestamps import render_time
from berth.pb import admission_v1_pb2 as pb
from cri_shim.admission.contract import AdmitRequest
from cri_shim.admission.quantities import is_static, requested


def encode(request: AdmitRequest, running: bool = False) -> pb.AdmitRequest:
    """The pod for the agent; `running` in an announcement, where nothing is asked."""
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


def held(request: AdmitRequest, refusal: pb.Held) -> ResourceExhausted:
    """The error of a pod that must wait, with consumer, shortage, deadline and reason."""
    pod = f"pod {request.namespace}/{request.name}"
    state = "is refused" if refusal.refused else "is held"
    parts = [f"{pod} {state}: consumer {refusal.consumer or '(none)'}"]
    if refusal.shortage:
        parts.append(f"shortage {render_vector(refusal.shortage)}")
    deadline = render_time(refusal.deadline // 10**9) if refusal.deadline else "none"
    parts.append(f"deadline {deadline}")
    return ResourceExhausted(", ".join(parts) + (f": {refusal.text}" if refusal.text else ""))
