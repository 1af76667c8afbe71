"""Fixtures: a wire between two hosts of this test, and networks on one of them."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from berth.linux.tasks import Tasks
from tests.cri_shim.network.bridges import Bridges
from tests.cri_shim.network.cni_directory import CniHost
from tests.cri_shim.network.hosts import Hosts, wire


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    try:
        wire(made)
        yield made
    finally:
        made.close()


@pytest.fixture
async def bridges(hosts: Hosts) -> AsyncIterator[Bridges]:
    async with Tasks() as tasks:
        made = Bridges(hosts, tasks)
        try:
            yield made
        finally:
            with contextlib.suppress(Exception):
                await made.stop()


@pytest.fixture
async def cni(hosts: Hosts) -> AsyncIterator[CniHost]:
    async with Tasks() as tasks:
        made = CniHost(hosts, tasks)
        try:
            yield made
        finally:
            await made.stop()
