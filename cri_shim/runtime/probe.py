"""Choosing a handler by trying it: no list of host quirks is as good as one real container."""

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from berth.base.errors import BerthError, RuntimeFailure
from berth.linux import processes
from berth.linux.cgroups import detection
from berth.linux.files import remove_tree
from cri_shim.runtime import commands, features, messages, stale_execs
from cri_shim.runtime.handler import ENVIRONMENT, Handler

_INIT = "catatonit"
_TIMEOUT = 20.0


async def probe(
    name: str,
    binary: str,
    root: Path,
    directory: Path,
    systemd_cgroup: bool = False,
    cgroups_path: str = "",
) -> Handler:
    """A handler that has just run a container, or RuntimeFailure with the runtime's message.

    `binary` may be a name on PATH. `directory` is for short use. `cgroups_path` is where the
    container's cgroup goes, in the driver's form; the default fits cgroupfs. What an earlier daemon
    left running under `root` is ended.
    """
    found = shutil.which(binary, path=ENVIRONMENT["PATH"])
    if found is None:
        raise RuntimeFailure(f"runtime handler {name!r}: {binary} is not installed")
    kind, version = await features.identify(found)
    known = await features.read(found, kind, version)
    handler = Handler(name, found, kind, root, known, systemd_cgroup)
    handler.prepare()
    stale_execs.kill_all(handler.scratch)
    await _try(handler, directory, cgroups_path)
    return handler


async def choose_default(root: Path, directory: Path, systemd_cgroup: bool = False) -> Handler:
    """crun where it works, else runc; the state goes to `root`/<name>.

    RuntimeFailure tells why each of them did not.
    """
    refusals = []
    for binary in ("crun", "runc"):
        try:
            return await probe(binary, binary, root / binary, directory, systemd_cgroup)
        except BerthError as error:
            refusals.append(str(error))
    raise RuntimeFailure("no OCI runtime works here: " + "; ".join(refusals))


async def _try(handler: Handler, directory: Path, cgroups_path: str) -> None:
    """Create, start and delete a container of one static program."""
    id = f"berth-probe-{secrets.token_hex(6)}"
    bundle = directory / id
    group = cgroups_path or f"/{id}"
    try:
        _write_bundle(bundle, group, known_init())
        # create makes namespaces, cgroup and mounts; start shows that a program runs in them.
        await _create(handler, id, bundle)
        await commands.start(handler, id)
    finally:
        # In this order: the runtime finds the container's cgroup by its state, and removing the
        # bundle under a running container would leave mounts behind.
        await commands.delete(handler, id, force=True)
        remove_tree(bundle)
        if not handler.systemd_cgroup:
            with contextlib.suppress(OSError):  # crun leaves it where it could not join it
                detection.detect().remove(group)


def known_init() -> str:
    """Path of the static init that shared PID namespaces use too."""
    found = shutil.which(_INIT, path=ENVIRONMENT["PATH"])
    if found is None:
        raise RuntimeFailure(f"{_INIT} is not installed: install the package of that name")
    return found


async def _create(handler: Handler, id: str, bundle: Path) -> None:
    """Without conmon. stderr is a file: the container keeps it open, and a pipe would not end."""
    stderr = bundle / "stderr"
    fd = os.open(stderr, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        argv = handler.argv("create", "--bundle", str(bundle), id)
        process = processes.spawn(argv, env=ENVIRONMENT, stderr=fd, new_session=True)
    finally:
        os.close(fd)
    try:
        code = await process.wait()
    finally:
        process.close()
    if code:
        message = messages.plain(stderr.read_bytes()) or f"exit code {code} and no message"
        raise RuntimeFailure(f"{handler.kind} cannot run containers on this host: {message}")


def _write_bundle(bundle: Path, cgroups_path: str, init: str) -> None:
    rootfs = bundle / "rootfs"
    for name in ("proc", "dev", "sys"):
        (rootfs / name).mkdir(parents=True)
    # A copy: a link could not cross filesystems, and the directory may be on a tmpfs.
    shutil.copy2(init, rootfs / "init")
    document = json.dumps(_document(cgroups_path))
    (bundle / "config.json").write_text(document)


def _document(cgroups_path: str) -> dict[str, Any]:
    """The least container with what every real one has: namespaces, /proc, a cgroup."""
    kinds = ("pid", "mount", "ipc", "uts", "network")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/init", "--version"],
            "cwd": "/",
            "env": ["PATH=/"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": cgroups_path,
            "namespaces": [{"type": kind} for kind in kinds],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        },
    }
