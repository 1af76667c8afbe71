"""A small OCI bundle for tests: busybox as root file system, config.json with what is needed."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BUSYBOX = "/bin/busybox"
NAMESPACES = ("mount", "pid", "ipc", "uts", "network")


def make_rootfs(directory: Path) -> Path:
    """busybox and a hard link for each applet: its shell executes only files that exist."""
    binaries = directory / "bin"
    for name in ("bin", "proc", "dev", "sys", "tmp", "etc"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    (directory / "etc/passwd").write_text(
        "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n"
    )
    (directory / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    busybox = binaries / "busybox"
    busybox.write_bytes(Path(BUSYBOX).read_bytes())
    busybox.chmod(0o755)
    names = subprocess.run([BUSYBOX, "--list"], capture_output=True, check=True, text=True).stdout
    for name in set(names.split()) - {"busybox"}:
        os.link(busybox, binaries / name)
    return directory


def make_bundle(
    directory: Path,
    rootfs: Path,
    args: Sequence[str],
    *,
    terminal: bool = False,
    cgroups_path: str = "",
    env: Sequence[str] = (),
    namespaces: Sequence[str] = NAMESPACES,
    **process: Any,
) -> Path:
    """Write `directory`/config.json that runs `args` in `rootfs`; returns `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    document = spec(rootfs, args, terminal, cgroups_path or f"/{directory.name}", env, namespaces)
    document["process"].update(process)
    text = json.dumps(document, ensure_ascii=False)
    (directory / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    return directory


def spec(
    rootfs: Path,
    args: Sequence[str],
    terminal: bool,
    cgroups_path: str,
    env: Sequence[str],
    namespaces: Sequence[str],
) -> dict[str, Any]:
    """The runtime-spec document: the given namespaces, /proc, /dev, four capabilities."""
    capabilities = ["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]
    sets = ("bounding", "effective", "permitted")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "args": list(args),
            "cwd": "/",
            "env": ["PATH=/bin", *env],
            "user": {"uid": 0, "gid": 0},
            "capabilities": dict.fromkeys(sets, capabilities),
        },
        "root": {"path": str(rootfs), "readonly": False},
        "mounts": _mounts(),
        "linux": {
            "cgroupsPath": cgroups_path,
            "namespaces": [{"type": kind} for kind in namespaces],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }


def _mounts() -> list[dict[str, Any]]:
    pty = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=64k"],
        },
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pty},
    ]
