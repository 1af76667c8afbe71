"""cri-shim with a kill -9 of itself at one write of its records.

    python -m tests.support.failpoint NUMBER before|after cri-shim-arguments...

NUMBER counts the writes of sandbox and container records since the socket was served; the daemon
dies just before that write, or just after it.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from cri_shim import cli
from cri_shim.api.server import Server
from cri_shim.store.store import Store

WRITES = (
    "add_sandbox", "update_sandbox", "delete_sandbox",
    "add_container", "update_container", "delete_container",
)  # fmt: skip


def arm(number: int, when: str) -> None:
    """Have the daemon die at its write `number`, counted from 1."""
    seen = 0
    serving = False
    start = Server.start

    async def started(self: Server) -> None:
        nonlocal serving
        await start(self)
        serving = True

    def dying(write: Callable[..., Any]) -> Callable[..., Any]:
        def method(*arguments: Any) -> Any:
            nonlocal seen
            seen += serving
            if seen == number and when == "before" and serving:
                os.kill(os.getpid(), signal.SIGKILL)
            result = write(*arguments)
            if seen == number and when == "after" and serving:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return method

    Server.start = started  # type: ignore[method-assign]  # the point of this module
    for name in WRITES:
        setattr(Store, name, dying(getattr(Store, name)))


if __name__ == "__main__":
    arm(int(sys.argv[1]), sys.argv[2])
    sys.exit(cli.main(sys.argv[3:]))
