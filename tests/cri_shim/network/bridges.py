"""Native bridges on a test's host, one at a time."""

from berth.linux.tasks import Tasks
from cri_shim.network import subnets
from cri_shim.network.bridge.bridge import NativeBridge
from cri_shim.network.bridge.settings import BridgeSettings
from cri_shim.network.hostports import Claims
from tests.cri_shim.network.hosts import FileDocuments, Hosts


class Bridges:
    """Native bridges on the test's host, one at a time; each new one is a restart."""

    def __init__(self, hosts: Hosts, tasks: Tasks) -> None:
        self._hosts = hosts
        self._tasks = tasks
        self._open: list[NativeBridge] = []
        self.leases = FileDocuments(hosts.directory / "leases")

    async def start(
        self, *known: str, subnet: tuple[str, ...] = ("10.77.0.0/24", "fd77::/64")
    ) -> NativeBridge:
        await self.stop()
        settings = BridgeSettings(subnets.parse(subnet), netns=self._hosts.host)
        bridge = NativeBridge(settings, self.leases, Claims(), self._tasks)
        self._open.append(bridge)
        await bridge.recover(known)
        return bridge

    async def stop(self) -> None:
        """As the daemon ends; what runs in the background is finished."""
        while self._open:
            await self._open.pop().close()
