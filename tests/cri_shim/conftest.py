"""A context for tests of the verbs and of what they consist of."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support import context
from tests.support.context import Host


@pytest_asyncio.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with context.host(tmp_path) as made:
        yield made
