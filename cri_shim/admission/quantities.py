"""What a pod asks for, read from its cgroup settings: all that CRI shows of its requests."""

from cri_shim.admission.contract import AdmitRequest
from cri_shim.model.resources import LinuxResources

_MIN_SHARES = 2
"""What the kubelet sets where no cpu is requested."""
_MIN_MEMORY_KEY = "memory.min"
_STATIC = ("file", "http")
"""Where the kubelet got a pod from that no API server knows."""


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
    """memory.min where the kubelet protects the request (MemoryQoS), else the limit."""
    protected = resources.unified.get(_MIN_MEMORY_KEY, "")
    if protected.isdecimal() and protected.isascii() and len(protected) < 19:
        return int(protected)
    return max(0, resources.memory_limit)


def _binary(page_size: str) -> str:
    """Page sizes as Kubernetes resources name them: 2MB is 2Mi."""
    for suffix in ("KB", "MB", "GB"):
        if page_size.endswith(suffix):
            return page_size.removesuffix(suffix) + suffix[0] + "i"
    return page_size


def is_static(request: AdmitRequest) -> bool:
    """Whether the kubelet runs the pod by itself, so that nobody may hold it."""
    source = request.annotations.get("kubernetes.io/config.source", "")
    return source in _STATIC or "kubernetes.io/config.mirror" in request.annotations
