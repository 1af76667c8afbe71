"""crun on a hybrid cgroup host: a private mount namespace where only the v1 hierarchies show.

crun refuses a host whose cgroup v2 mount beside v1 has controllers. Without that mount it sees a
plain v1 host. Nothing outside the namespace changes.

    python -m tests.support.crun_host COMMAND...      runs COMMAND in such a namespace
"""

import os
import sys
from pathlib import Path

UNIFIED = Path("/sys/fs/cgroup/unified")
_SCRIPT = (
    f"mount --make-rprivate /sys && {{ ! mountpoint -q {UNIFIED} || umount {UNIFIED}; }} && "
    'exec "$@"'
)
"""Only /sys is made private: shared mounts elsewhere stay what a runtime finds on the host."""


def command(*argv: str) -> list[str]:
    """The command line that runs `argv` where crun works: unchanged where it works anyway."""
    if not UNIFIED.is_dir():
        return list(argv)
    return ["unshare", "--mount", "--propagation=unchanged", "sh", "-c", _SCRIPT, "sh", *argv]


def wrapper(directory: Path, binary: str = "/usr/bin/crun") -> Path:
    """An executable in `directory`, named as the binary, that runs it in such a namespace.

    About 5 ms dearer than the binary; mounts made in the namespace end with it.
    """
    path = directory / Path(binary).name
    quoted = " ".join(f"'{word}'" for word in command(binary))
    path.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
    path.chmod(0o755)
    return path


if __name__ == "__main__":
    words = command(*sys.argv[1:])
    os.execvp(words[0], words)
