"""Directories that a layer uses and does not describe look as they do in the layers below.

A layer may hold `tmp/x` without an entry for `tmp`. Its directory then has to be made for the file,
and would cover the `tmp` below with a mode and an owner that nobody chose: overlayfs shows a merged
directory with the attributes of its uppermost part. So /tmp would be 0755 instead of 1777.
Runtimes that unpack each layer over the ones below do not have this question, nor the chance to
unpack all of them at the same time.
"""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from berth.linux.files import open_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def inherit(layer: Path, implied: Iterable[str], lowers: Sequence[Path]) -> None:
    """Give the implied directories of `layer` the metadata they have below.

    `lowers` are the layers under it, the uppermost first. Blocks, for a thread.
    """
    paths = list(implied)
    if not paths or not lowers:
        return
    below = [os.open(lower, _DIRECTORY) for lower in lowers]
    own = os.open(layer, _DIRECTORY)
    try:
        for path in paths:
            _inherit(own, path, below)
    finally:
        for fd in (own, *below):
            os.close(fd)


def _inherit(own: int, path: str, below: Sequence[int]) -> None:
    for lower in below:
        try:
            source = open_beneath(lower, path, _DIRECTORY, in_root=False)
        except FileNotFoundError:
            continue
        except OSError as error:
            # Below, there is a file or a link of this name: overlay does not merge, and what lies
            # under that is hidden. BENEATH, not IN_ROOT: a link must not lead to another directory.
            if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EXDEV):
                return
            raise
        try:
            _copy(source, own, path)
        finally:
            os.close(source)
        return


def _copy(source: int, own: int, path: str) -> None:
    status = os.fstat(source)
    target = open_beneath(own, path, _DIRECTORY, in_root=False)
    try:
        # In this order: chown(2) clears setuid and setgid, and the time comes last, for the others
        # change it.
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        for name in os.listxattr(source):
            if not name.startswith(("trusted.overlay.", "security.selinux")):
                os.setxattr(target, name, os.getxattr(source, name))
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    finally:
        os.close(target)
