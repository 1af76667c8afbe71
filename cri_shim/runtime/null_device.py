"""What processes without standard streams have in their place: a null device, not the host's.

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

_LAUNCHER = """#!/bin/sh
[ /proc/self/fd/1 -ef /dev/null ] && exec 1>{null}
[ /proc/self/fd/2 -ef /dev/null ] && exec 2>{null}
exec {binary} "$@" <{null}
"""
"""On a terminal conmon gives all three of the runtime's own streams the null device."""


def prepare(handler: Handler, directory: Path) -> Handler:
    """The handler with a null device and a launcher in `directory`, where programs can run.

    conmon always gives the host's /dev/null: the launcher is what it starts in crun's stead.
    """
    if handler.kind != "crun":
        return handler
    null = directory / f"{handler.name}.null"
    null.unlink(missing_ok=True)
    os.mknod(null, stat.S_IFCHR | _MODE, _NUMBER)
    null.chmod(_MODE)
    launcher = directory / f"{handler.name}.launch"
    binary, device = (shlex.quote(str(word)) for word in (handler.binary, null))
    launcher.write_text(_LAUNCHER.format(binary=binary, null=device))
    launcher.chmod(0o700)
    return dataclasses.replace(handler, null=null, launcher=launcher)


@contextlib.contextmanager
def null_of(handler: Handler) -> Iterator[int | None]:
    """Its null device, open; None where the host's own is as good."""
    if handler.null is None:
        yield None
        return
    fd = os.open(handler.null, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
