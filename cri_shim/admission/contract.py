"""What the verbs ask: may this pod enter; and tell: it is gone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cri_shim.model.resources import LinuxResources


@dataclass(frozen=True, slots=True)
class AdmitRequest:
    """One pod as CRI shows it. Idempotent by `pod_uid`."""

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
    """Two implementations: nobody asked (`AdmissionOff`), and the agent on its socket."""

    @property
    def enabled(self) -> bool:
        """False where no grant is ever held, so none need be handed back."""
        ...

    async def admit(self, request: AdmitRequest) -> None:
        """Return if the pod may enter.

        Raises ResourceExhausted with consumer, shortage and deadline; Unavailable where the agent
        must answer and does not.
        """
        ...

    async def release(self, pod_uid: str) -> None:
        """The pod's processes are gone. Never raises: it is told again until the agent knows."""
        ...

    def announce(self, pods: Iterable[AdmitRequest]) -> None:
        """The pods that run now: told to an agent that comes (back) up."""
        ...

    def revoked(self, pod_uid: str) -> str | None:
        """Why the pod's grant was taken back; None while it holds."""
        ...


class AdmissionOff:
    """Every pod enters."""

    enabled = False

    async def admit(self, request: AdmitRequest) -> None:
        return

    async def release(self, pod_uid: str) -> None:
        return

    def announce(self, pods: Iterable[AdmitRequest]) -> None:
        return

    def revoked(self, pod_uid: str) -> str | None:
        return None
