"""Pulls an image, to be killed meanwhile: `python -m tests.cri_shim.images.pulling ROOT REF`."""

import asyncio
import sys
from pathlib import Path

from tests.cri_shim.images import on_disk


async def main() -> None:
    async with on_disk.opened(Path(sys.argv[1])) as images:
        await images.pull(sys.argv[2])


if __name__ == "__main__":
    asyncio.run(main())
