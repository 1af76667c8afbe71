"""No network: a pod of its own with nothing but its loopback interface."""

from collections.abc import Collection, Mapping

from berth.base.errors import InvalidArgument
from berth.base.findings import Finding
from cri_shim.network.pod import Attachment, PodNet


class NoNetwork:
    """The namespace stays as it was pinned: `lo` up and nothing else."""

    name = "none"

    async def attach(self, pod: PodNet) -> Attachment:
        if pod.published:
            raise InvalidArgument(
                f"pod {pod} asks for host port {pod.published[0].host_port}, but this node runs "
                'pods without a network ([network] mode = "none")'
            )
        return Attachment((), {"implementation": self.name})

    async def detach(self, pod: PodNet, attachment: Mapping[str, object]) -> None:
        return None

    async def recover(self, known: Collection[str]) -> None:
        return None

    def ready(self) -> str | None:
        return None

    async def check(self) -> None:
        return None

    async def use_pod_cidr(self, cidr: str) -> None:
        return None

    async def findings(self) -> list[Finding]:
        return []

    async def close(self) -> None:
        return None
