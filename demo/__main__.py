"""One command that shows what Berth is: a pod by CRI, then an owner that reclaims from a borrower.

    python -m demo

Everything happens in a private directory and a network namespace of its own. Nothing is left
behind.
"""

import os
import sys
import tempfile
from pathlib import Path

from demo import reclaim, runtime
from demo.stage import Stage

INSIDE = "BERTH_DEMO_INSIDE"


def main() -> int:
    if os.geteuid() != 0:
        print("demo: containers need root: run `sudo make demo`", file=sys.stderr)
        return 1
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        script = 'ip link set lo up && exec "$@"'
        os.execvp(
            "unshare",
            ["unshare", "--net", "sh", "-c", script, "sh", sys.executable, "-m", "demo"],
        )
    with (
        tempfile.TemporaryDirectory(prefix="berth-demo-") as directory,
        Stage(Path(directory)) as stage,
    ):
        runtime.show(stage)
        reclaim.show(stage)
    stage.summary()
    return 0


if __name__ == "__main__":
    sys.exit(main())
