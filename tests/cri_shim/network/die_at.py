"""A process that attaches a pod and detaches it again, and kills itself at the step it is told.

die_at.py STEP DIRECTORY HOST_NETNS POD_NETNS SANDBOX
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from berth.linux.tasks import Tasks
from cri_shim.model.sandbox import Protocol
from cri_shim.network import subnets
from cri_shim.network.bridge import device, firewall, leases, nfnetlink, veth
from cri_shim.network.bridge.bridge import NativeBridge
from cri_shim.network.bridge.settings import BridgeSettings
from cri_shim.network.hostports import Claims
from cri_shim.network.pod import PodNet
from tests.cri_shim.network.hosts import FileDocuments, port

STEPS: dict[str, tuple[Any, str, bool]] = {
    "before the bridge is made": (device.Device, "ensure", False),
    "before the table is laid down": (firewall.Firewall, "_lay_down", False),
    "before the lease": (leases.Leases, "grant", False),
    "after the lease": (leases.Leases, "grant", True),
    "after the pair": (veth, "join", True),
    "after the pod's end": (veth, "set_up", True),
    "before the host ports": (nfnetlink, "add", False),
    "after the host ports": (nfnetlink, "add", True),
    "before the ports close": (nfnetlink, "remove", False),
    "after the ports close": (nfnetlink, "remove", True),
    "after the cut": (device.Device, "cut_off", True),
    "after the lease is released": (leases.Leases, "release", True),
    "before the pair is deleted": (device.Device, "reap", False),
}
"""What dies in which function, and whether after it did its work."""


def arm(owner: Any, name: str, after: bool) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, dying)


async def main(step: str, directory: str, host: str, netns: str, sandbox: str) -> None:
    settings = BridgeSettings(subnets.parse(["10.77.0.0/24", "fd77::/64"]), netns=host)
    pod = PodNet(
        sandbox, "pod1", "default", "uid", netns, (port(80, 8080), port(53, 53, Protocol.UDP))
    )
    async with Tasks() as tasks:
        network = NativeBridge(settings, FileDocuments(Path(directory)), Claims(), tasks)
        await network.recover(())
        arm(*STEPS[step])
        await network.attach(pod)
        await network.detach(pod, {})
        await network.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
