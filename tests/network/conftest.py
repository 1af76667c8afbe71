"""Fixtures: a wire between two hosts of this test, and networks on one of them."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from network_hosts import FileDocuments, Hosts, wire

from cri_shim.host.tasks import Tasks
from cri_shim.network import subnets
from cri_shim.network.bridge.bridge import BridgeSettings, NativeBridge
from cri_shim.network.hostports import Claims


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    try:
        wire(made)
        yield made
    finally:
        made.close()


class Bridges:
    """Native bridges on the test's host, one at a time; each new one is a restart."""

    def __init__(self, hosts: Hosts, tasks: Tasks) -> None:
        self._hosts = hosts
        self._tasks = tasks
        self._open: list[NativeBridge] = []
        self.leases = FileDocuments(hosts.folder / "leases")

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


@pytest.fixture
async def bridges(hosts: Hosts) -> AsyncIterator[Bridges]:
    async with Tasks() as tasks:
        made = Bridges(hosts, tasks)
        try:
            yield made
        finally:
            with contextlib.suppress(Exception):
                await made.stop()
