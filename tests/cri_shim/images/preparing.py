"""Mounts an image and kills itself meanwhile: `… preparing ROOT IMAGE USERNS STAGE`."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from berth.linux import mounts
from cri_shim.images.snapshot import mounting
from tests.cri_shim.images import on_disk


def kill_at(stage: str) -> None:
    """Die before the mounts, with the layers' idmapped copies alone, or with everything."""
    mount = mounts.overlay

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def mount_and_die(*arguments: Any, **more: Any) -> None:
        mount(*arguments, **more)
        die()

    match stage:
        case "made":
            mounting.idmapped.idmapped = die
        case "mapped":
            mounts.overlay = die
        case _:
            mounts.overlay = mount_and_die


async def main() -> None:
    kill_at(sys.argv[4])
    async with on_disk.opened(Path(sys.argv[1])) as images:
        await images.prepare(sys.argv[2], "c", Path(sys.argv[3]))


if __name__ == "__main__":
    asyncio.run(main())
