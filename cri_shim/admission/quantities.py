"""What a pod requests, read from its cgroup settings: all that CRI shows of its requests.

An estimate, and marked as one for the agent: kubelet turns a CPU request into shares and rounds
it, and a memory request is in no setting unless MemoryQoS protects it.
"""

from cri_shim.admission.contract import AdmitRequest
from cri_shim.model.resources import LinuxResources

_MIN_SHARES = 2
"""What kubelet sets where no CPU is requested (MinShares in its cgroup manager)."""
_MIN_MEMORY_KEY = "memory.min"
_STATIC = ("file", "http")
"""Values of kubelet's annotation for pods that did not come from the API server."""


def requested(request: AdmitRequest) -> dict[str, int]:
    """Base units by resource name (cpu in thousandths of a core, bytes); zeros are left out."""
    total: dict[str, int] = {}
    for part in (request.resources, request.overhead):
        for name, amount in _amounts(part).items():
            total[name] = total.get(name, 0) + amount
    return {name: amount for name, amount in sorted(total.items()) if amount}


def _amounts(resources: LinuxResources) -> dict[str, int]:
    shares = resources.cpu_shares
    amounts = {
        "cpu": shares * 1000 // 1024 if shares > _MIN_SHARES else 0,
        "memory": _memory(resources),
    }
    for size, limit in resources.hugepages:
        amounts[f"hugepages-{_binary(size)}"] = limit
    return amounts


def _memory(resources: LinuxResources) -> int:
    """memory.min where kubelet protects the request (MemoryQoS), else the limit."""
    # From a request of CRI, so any text; 19 digits would be beyond what the kernel counts.
    protected = resources.unified.get(_MIN_MEMORY_KEY, "")
    if protected.isdecimal() and protected.isascii() and len(protected) < 19:
        return int(protected)
    return max(0, resources.memory_limit)


def _binary(page_size: str) -> str:
    """A page size as Kubernetes names it: `2MB`, which the kernel says for 2 MiB, is `2Mi`."""
    for suffix in ("KB", "MB", "GB"):
        if page_size.endswith(suffix):
            return page_size.removesuffix(suffix) + suffix[0] + "i"
    return page_size


def is_static(request: AdmitRequest) -> bool:
    """Whether kubelet runs the pod by itself: such pods (etcd, the API server) are never held.

    The mirror annotation is on the pod that kubelet shows to the API server in its place.
    """
    source = request.annotations.get("kubernetes.io/config.source", "")
    return source in _STATIC or "kubernetes.io/config.mirror" in request.annotations
