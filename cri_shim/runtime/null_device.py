"""A null device of our own for processes without standard streams, in the host's place.

crun gives the standard streams that it finds to the container's user. Were that the host's own
/dev/null, root of a pod's user namespace could then chmod it, and every program of the host that
writes to it would fail. (runc leaves /dev/null alone; crun `maybe_chown_std_streams`.)
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
    # `directory` must not be mounted nodev (the node could not be opened) nor noexec.
    if handler.kind != "crun":
        return handler
    null = directory / f"{handler.name}.null"
    # A fresh one at each start: the one before may have been given to a user already.
    null.unlink(missing_ok=True)
    os.mknod(null, stat.S_IFCHR | _MODE, _NUMBER)
    null.chmod(_MODE)  # mknod(2) took the umask off
    launcher = directory / f"{handler.name}.launch"
    binary, device = (shlex.quote(str(path)) for path in (handler.binary, null))
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
