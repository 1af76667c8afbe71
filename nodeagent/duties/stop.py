"""Stopping a pod through the runtime's CRI socket."""

from pathlib import Path
from typing import Any

import grpc

from berth.pb import runtime_v1_pb2 as cri
from berth.pb.runtime_v1_pb2_grpc import RuntimeServiceStub

# StopPodSandbox has no grace period and kills at once, but a process that hangs in the kernel may
# hold it up; the attempt then ends here and is made again.
_LIST_SECONDS, _STOP_SECONDS = 10.0, 120.0


class StopFailed(Exception):
    """The runtime did not stop a pod; the message is the runtime's."""


class PodStopper:
    """Stops pods by uid, whatever sandbox attempt they are at.

    By the runtime and not by the API server: the deadline must hold while that is away. CRI has no
    call by uid and no filter for it, so all ready sandboxes are listed.
    """

    def __init__(self, cri_socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{cri_socket}")
        self._stub: Any = RuntimeServiceStub(self._channel)

    async def stop(self, uid: str) -> bool:
        """Kill the pod's containers and stop its ready sandboxes; False if there are none.

        A pod without a uid (made by crictl) goes by its sandbox's id.
        Raises StopFailed if the runtime is away or refuses.
        """
        try:
            ready = cri.PodSandboxStateValue(state=cri.SANDBOX_READY)
            request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(state=ready))
            listed = await self._stub.ListPodSandbox(request, timeout=_LIST_SECONDS)
            found = [it.id for it in listed.items if uid in (it.metadata.uid, it.id)]
            for sandbox in found:
                stop = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox)
                await self._stub.StopPodSandbox(stop, timeout=_STOP_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise StopFailed(f"{error.code().name}: {error.details()}") from error
        return bool(found)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close(None)
