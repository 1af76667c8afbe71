"""cri-shim with a kill -9 of itself right after one thing that it does to the host or its records.

    python -m tests.support.network_failpoint NUMBER cri-shim-arguments...

NUMBER counts what EFFECTS names, from the first new pod's record on.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from berth.linux import namespaces
from cri_shim import cli
from cri_shim.network.bridge import device, nfnetlink, veth
from cri_shim.sandbox import files, teardown
from cri_shim.store.documents import DocumentTable
from cri_shim.store.store import Store

EFFECTS: tuple[tuple[Any, str], ...] = (
    (Store, "add_sandbox"),
    (Store, "update_sandbox"),
    (Store, "delete_sandbox"),
    (DocumentTable, "put"),
    (DocumentTable, "delete"),
    (namespaces, "pin"),
    (teardown, "_unpin"),
    (files, "_make"),
    (teardown, "_remove_files"),
    (veth, "join"),
    (veth, "set_up"),
    (nfnetlink, "add"),
    (nfnetlink, "remove"),
    (device.Device, "cut_off"),
)


def arm(number: int) -> None:
    """Have the daemon die after its effect `number`, counted from 1 over all threads."""
    lock = threading.Lock()
    seen = 0
    first = Store.add_sandbox

    def dying(effect: Callable[..., Any]) -> Callable[..., Any]:
        def method(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            result = effect(*arguments, **named)
            with lock:
                seen += seen > 0 or effect is first
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)
            return result

        return method

    for owner, name in EFFECTS:
        setattr(owner, name, dying(getattr(owner, name)))


if __name__ == "__main__":
    arm(int(sys.argv[1]))
    sys.exit(cli.main(sys.argv[2:]))
