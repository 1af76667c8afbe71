"""What a process without standard input reads from: a null device that is not the host's.

crun gives the standard streams that it finds to the container's user. Were that the host's own
/dev/null, root of a pod's user namespace could then close it to everybody. (runc leaves
/dev/null alone.)
"""

import contextlib
import dataclasses
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from cri_shim.runtime.handler import Handler

_NUMBER = os.makedev(1, 3)
_MODE = 0o666


def prepare(handler: Handler, folder: Path) -> Handler:
    """The handler with a null device and a launcher in `folder`, where programs can run.

    conmon always gives the host's /dev/null: the launcher is what it starts in crun's stead.
    """
    if handler.kind != "crun":
        return handler
    null = folder / f"{handler.name}.null"
    null.unlink(missing_ok=True)
    os.mknod(null, stat.S_IFCHR | _MODE, _NUMBER)
    null.chmod(_MODE)
    launcher = folder / f"{handler.name}.launch"
    words = (shlex.quote(str(word)) for word in (handler.binary, null))
    launcher.write_text('#!/bin/sh\nexec {} "$@" < {}\n'.format(*words))
    launcher.chmod(0o700)
    return dataclasses.replace(handler, null=null, launcher=launcher)


@contextlib.contextmanager
def null_of(handler: Handler) -> Iterator[int | None]:
    """Its null device, open; None where the host's own is as good."""
    if handler.null is None:
        yield None
        return
    fd = os.open(handler.null, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
