"""The OCI runtime's command line: one function a command.

Not on the way of a stop: signals go by pidfd, and exits are learnt from the kernel. The runtime
is called for what only it can do.
"""

import json
from typing import Any

from cri_shim.host import processes
from cri_shim.model.errors import DeadlineExceeded, RuntimeFailure
from cri_shim.runtime import words
from cri_shim.runtime.handler import ENVIRONMENT, Handler

_TIMEOUT = 60.0
"""Seconds for a call that should take milliseconds: a bound for a stuck kernel, not a tuning."""


async def start(handler: Handler, id: str, timeout: float = _TIMEOUT) -> None:
    """Let the created container's process run."""
    await _call(handler, f"start container {id}", "start", id, timeout=timeout)


async def delete(handler: Handler, id: str, force: bool = False) -> None:
    """Forget a container and remove its cgroups; one that is not there is fine.

    Without `force` a running container is refused. `force` kills it first.
    """
    if not (handler.root / id).exists():
        return
    options = ("--force",) if force else ()
    await _call(handler, f"delete container {id}", "delete", *options, id)


async def kill(handler: Handler, id: str, sig: int, all: bool = False) -> None:
    """Send a signal through the runtime: to the first process, or to `all` of the container."""
    options = ("--all",) if all else ()
    await _call(handler, f"signal container {id}", "kill", *options, id, str(int(sig)))


async def update(handler: Handler, id: str, resources: bytes) -> None:
    """Change limits. `resources` is the JSON of OCI `linux.resources`."""
    command = ("update", "--resources", "-", id)
    await _call(handler, f"update container {id}", *command, stdin=resources)


async def pause(handler: Handler, id: str) -> None:
    """Freeze all processes of the container."""
    await _call(handler, f"pause container {id}", "pause", id)


async def resume(handler: Handler, id: str) -> None:
    """Thaw a paused container."""
    await _call(handler, f"resume container {id}", "resume", id)


async def state(handler: Handler, id: str) -> dict[str, Any] | None:
    """The OCI state of a container (`status`, `pid`, …); None where the runtime has none."""
    if not (handler.root / id).exists():
        return None
    found = json.loads(await _call(handler, f"read the state of container {id}", "state", id))
    assert isinstance(found, dict)
    return found


def list_ids(handler: Handler) -> list[str]:
    """Ids of all containers the runtime keeps: both keep one folder for each under `root`."""
    if not handler.root.is_dir():
        return []
    return sorted(entry.name for entry in handler.root.iterdir() if entry.is_dir())


async def checkpoint(
    handler: Handler, id: str, image: str, work: str, leave_running: bool, timeout: float
) -> None:
    """Write the container's processes to the folder `image` with CRIU; logs go to `work`."""
    options = ["--image-path", image, "--work-path", work]
    if leave_running:
        options.append("--leave-running")
    what = f"checkpoint container {id}"
    await _call(handler, what, "checkpoint", *options, id, timeout=timeout)


async def _call(
    handler: Handler, what: str, *command: str, stdin: bytes = b"", timeout: float = _TIMEOUT
) -> bytes:
    """Run one command; its stdout. `what` begins the message where it fails."""
    try:
        result = await processes.run(
            handler.argv(*command), input=stdin, timeout=timeout, env=ENVIRONMENT
        )
    except processes.ProcessTimeout as error:
        raise DeadlineExceeded(f"cannot {what}: {error}") from error
    except OSError as error:
        raise RuntimeFailure(f"cannot {what}: {handler.binary}: {error.strerror}") from error
    if result.code:
        said = words.plain(result.stderr) or f"exit code {result.code} and no message"
        raise RuntimeFailure(f"cannot {what}: {handler.kind}: {said}")
    return result.stdout
