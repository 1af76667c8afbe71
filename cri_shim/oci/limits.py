"""What bounds the process: capabilities, rlimits, the OOM score."""

from cri_shim.model.security import ContainerSecurity
from cri_shim.oci import capabilities
from cri_shim.oci.facts import Facts, Json, Rlimit


def allowed_capabilities(security: ContainerSecurity, facts: Facts) -> frozenset[str]:
    """A user namespace hands a full bounding set to who enters it (user_namespaces(7))."""
    if security.namespaces.user is not None:
        return facts.known_capabilities
    return facts.capabilities & facts.known_capabilities


def capability_sets(security: ContainerSecurity, facts: Facts) -> dict[str, list[str]]:
    """The OCI `capabilities` object of this container."""
    return capabilities.sets(
        security.capabilities, security.privileged, allowed_capabilities(security, facts)
    )


def capability_names(security: ContainerSecurity, facts: Facts) -> frozenset[str]:
    """The bounding set: what the seccomp profile depends on."""
    return frozenset(capability_sets(security, facts)["bounding"])


def rlimits(facts: Facts) -> list[Json]:
    """The configured limits, held within the daemon's own where it may not raise them."""
    return [_rlimit(limit, facts) for limit in facts.rlimits]


def _rlimit(limit: Rlimit, facts: Facts) -> Json:
    hard = limit.hard
    if not facts.raise_rlimits:
        hard = min(hard, facts.own_rlimits.get(limit.name, hard))
    return {"type": limit.name, "hard": hard, "soft": min(limit.soft, hard)}


def oom_score_adj(wanted: int, facts: Facts) -> int:
    """Without CAP_SYS_RESOURCE nobody may go below the own score (proc(5))."""
    return max(wanted, facts.oom_floor)
