"""Which annotations the OCI runtime sees.

Some OCI runtimes act on annotations (handlers, devices, cgroup files), so that passing on what a
pod's author wrote would be a way around every check: an allow list of the handler decides.
"""

from collections.abc import Mapping

from cri_shim.model.container import ContainerSpec
from cri_shim.oci.facts import Facts


def annotations(spec: ContainerSpec, facts: Facts) -> dict[str, str]:
    """The pod's, over them the container's, over them the daemon's own."""
    allowed = facts.allowed_annotations
    return {
        **_filtered(facts.pod_annotations, allowed),
        **_filtered(spec.annotations, allowed),
        **facts.annotations,
    }


def _filtered(found: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    return {
        key: value
        for key, value in found.items()
        if any(_matches(key, pattern) for pattern in allowed)
    }


def _matches(key: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return key.startswith(pattern[:-1])
    return key == pattern
