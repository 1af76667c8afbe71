"""The OCI runtime's command line: one function a command.

Not on the way of a stop: signals go by pidfd, and exits are learnt from the kernel. The runtime
is called for what only it can do.
"""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from berth.base.errors import DeadlineExceeded, RuntimeFailure
from berth.linux import processes
from berth.linux.processes import Process
from cri_shim.runtime import messages
from cri_shim.runtime.handler import ENVIRONMENT, Handler

_TIMEOUT = 60.0
"""Seconds for a call that should take milliseconds: a bound for a stuck kernel, not a tuning."""


async def start(handler: Handler, id: str, timeout: float = _TIMEOUT) -> None:
    """Let the created container's process run."""
    await _do(handler, f"start container {id}", "start", id, timeout=timeout)


async def delete(handler: Handler, id: str, force: bool = False) -> None:
    """Forget a container and remove its cgroups; one that is not there is fine.

    Without `force` a running container is refused. `force` kills it first.
    """
    # Both runtimes keep one directory a container under `root`. Without --force an unknown id is
    # an error of both; looking first saves the call and the guess at what its message means.
    if not (handler.root / id).exists():
        return
    options = ("--force",) if force else ()
    await _do(handler, f"delete container {id}", "delete", *options, id)


async def update(handler: Handler, id: str, resources: bytes) -> None:
    """Change limits. `resources` is the JSON of OCI `linux.resources`."""
    # From stdin: on the command line some limits have no option, and crun and runc differ in the
    # names of others.
    command = ("update", "--resources", "-", id)
    await _ask(handler, f"update container {id}", *command, stdin=resources)


async def resume(handler: Handler, id: str) -> None:
    """Thaw a paused container."""
    await _do(handler, f"resume container {id}", "resume", id)


async def checkpoint(handler: Handler, id: str, images: Path, work: Path, timeout: float) -> None:
    """Have CRIU write the processes' state to `images`, its log to `work`; they run on."""
    # Locks and connections that are open would make CRIU refuse; restore needs the same options.
    options = ("--leave-running", "--file-locks", "--tcp-established")
    directories = ("--image-path", str(images), "--work-path", str(work))
    what = f"checkpoint container {id}"
    await _do(handler, what, "checkpoint", *directories, *options, id, timeout=timeout)


async def state(handler: Handler, id: str) -> dict[str, Any] | None:
    """The OCI state of a container (`status`, `pid`, …); None where the runtime has none."""
    if not (handler.root / id).exists():
        return None
    # runtime-spec runtime.md, "State"; `paused` is an addition of crun and runc.
    found = json.loads(await _ask(handler, f"read the state of container {id}", "state", id))
    assert isinstance(found, dict)
    return found


async def _do(handler: Handler, what: str, *command: str, timeout: float = _TIMEOUT) -> None:
    """Run one command that prints nothing. `what` begins the message where it fails.

    Its stderr goes to a memory file, not to a pipe: half a millisecond less on every start.
    """
    stderr_file = os.memfd_create("stderr", os.MFD_CLOEXEC)
    try:
        process = _spawn(handler, what, command, stderr_file)
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
        except (TimeoutError, asyncio.CancelledError) as error:
            # The whole group: what the runtime waits for may be a child of its own, a hook.
            process.send_group(signal.SIGKILL)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise DeadlineExceeded(
                f"cannot {what}: {handler.binary} did not end within {timeout:g} s and was killed"
            ) from None
        finally:
            process.close()
        _check(handler, what, code, os.pread(stderr_file, 1 << 16, 0) if code else b"")
    finally:
        os.close(stderr_file)


def _spawn(handler: Handler, what: str, command: tuple[str, ...], stderr: int) -> Process:
    try:
        # A session of its own, so that one signal reaches all that it starts.
        return processes.spawn(
            handler.argv(*command), env=ENVIRONMENT, stderr=stderr, new_session=True
        )
    except OSError as error:
        raise RuntimeFailure(f"cannot {what}: {handler.binary}: {error.strerror}") from error


async def _ask(
    handler: Handler, what: str, *command: str, stdin: bytes = b"", timeout: float = _TIMEOUT
) -> bytes:
    """Run one command that reads or prints something; its stdout."""
    try:
        result = await processes.run(
            handler.argv(*command), input=stdin, timeout=timeout, env=ENVIRONMENT
        )
    except processes.ProcessTimeout as error:
        raise DeadlineExceeded(f"cannot {what}: {error}") from error
    except OSError as error:
        raise RuntimeFailure(f"cannot {what}: {handler.binary}: {error.strerror}") from error
    _check(handler, what, result.code, result.stderr)
    return result.stdout


def _check(handler: Handler, what: str, code: int, stderr: bytes) -> None:
    if code:
        message = messages.plain(stderr) or f"exit code {code} and no message"
        raise RuntimeFailure(f"cannot {what}: {handler.kind}: {message}")
