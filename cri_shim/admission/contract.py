"""Pod admission as the verbs see it: may this pod be created, and it is gone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cri_shim.model.resources import LinuxResources


@dataclass(frozen=True, slots=True)
class AdmitRequest:
    """One pod as CRI shows it; a second request with the same `pod_uid` is the same request."""

    pod_uid: str
    namespace: str
    name: str
    attempt: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    cgroup_parent: str
    resources: LinuxResources
    overhead: LinuxResources


class Admission(Protocol):
    """Two implementations: every pod is admitted (`AdmissionOff`), or the agent decides."""

    @property
    def enabled(self) -> bool:
        """False where there are never grants, so that none need be released."""
        ...

    async def admit(self, request: AdmitRequest) -> None:
        """Return if the pod may be created.

        Raises ResourceExhausted with consumer, shortage and deadline; Unavailable where the agent
        must decide and cannot be reached. kubelet tries again after either.
        """
        ...

    async def release(self, pod_uid: str) -> None:
        """The pod's processes are gone. Never raises: it is repeated until the agent knows."""
        ...

    def announce(self, pods: Iterable[AdmitRequest]) -> None:
        """The pods that run now, for an agent that starts (again) later."""
        ...

    def revoked(self, pod_uid: str) -> str | None:
        """Why the pod's grant was reclaimed; None while it has one."""
        ...

    async def close(self) -> None:
        """Close the connection to the agent; grants stay."""
        ...


class AdmissionOff:
    """Every pod is admitted."""

    enabled = False

    async def admit(self, request: AdmitRequest) -> None:
        return

    async def release(self, pod_uid: str) -> None:
        return

    def announce(self, pods: Iterable[AdmitRequest]) -> None:
        return

    def revoked(self, pod_uid: str) -> str | None:
        return None

    async def close(self) -> None:
        return
