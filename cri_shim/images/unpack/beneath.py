"""A directory that is filled from hostile names: every path is resolved inside it.

Symbolic links on the way mean what they mean to a process whose root is this directory: `/var/run`
that links to `/run` leads to `run`. Every directory is opened by openat2 with RESOLVE_IN_ROOT, so
that the kernel, not this code, keeps the walk inside.
"""

import os
import re
import stat
from collections import OrderedDict
from pathlib import Path

from berth.linux.files import open_beneath, safe_join
from cri_shim.images.errors import BadImage

# Archives list a directory's files one after the other: few are used again soon. RLIMIT_NOFILE is
# 1024 in the worker.
_MAX_OPEN = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
OPAQUE = "trusted.overlay.opaque"
_PLAIN = re.compile(r"[^./\0][^/\0]*(?:/[^./\0][^/\0]*)*\Z")
"""The common case: no empty parts, none that starts with a dot."""


def clean(name: str) -> str:
    """A member's name as a path relative to the root, `` for the root itself.

    Leading slashes fall away as in every tar; `..` is taken away with the part before it, and
    BadImage where it would climb above the root.
    """
    if _PLAIN.match(name):
        return name
    if "\0" in name:
        raise BadImage(f"entry {name!r} has a NUL in its name")
    parts: list[str] = []
    for part in name.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
        else:
            raise BadImage(f"entry {name!r} leads outside of the image")
    return "/".join(parts)


def is_whiteout(status: os.stat_result) -> bool:
    """Overlay's sign for "not here any more": a character device 0:0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class Root:
    """The directory being filled; knows which of its directories no entry has described yet.

    `real` paths have no links in them: two names of one directory are one there.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self.fd = os.open(path, _DIRECTORY | os.O_NOFOLLOW)
        self._directories: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self.implied: set[str] = {"."}
        """Directories made on the way to an entry, by their real path."""
        self.times: dict[str, int] = {}
        """Times of modification (ns) of directories, set at the end, by real path."""

    def close(self) -> None:
        self._forget_all()
        os.close(self.fd)

    def parent(self, path: str) -> tuple[int, str, str]:
        """Descriptor and real path of the directory that holds `path`, made where missing; name."""
        directory, _, name = path.rpartition("/")
        fd, real = self.directory(directory)
        return fd, real, name

    def directory(self, path: str) -> tuple[int, str]:
        """Descriptor (owned by the cache) and real path of a directory, made where missing."""
        if not path:
            return self.fd, ""
        found = self._directories.get(path)
        if found is None:
            found = self._open(path)
            self._directories[path] = found
            if len(self._directories) > _MAX_OPEN:
                os.close(self._directories.popitem(last=False)[1][0])
        return found

    def _open(self, path: str) -> tuple[int, str]:
        # The text is resolved for the records of this class alone. What is opened, the kernel keeps
        # beneath the root (openat2, Linux 5.6), whatever this resolution would get wrong.
        real = self._resolve(path)
        try:
            return open_beneath(self.fd, real or ".", _DIRECTORY), real
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            self._unhide(real)
        self._make(real)
        try:
            return open_beneath(self.fd, real or ".", _DIRECTORY), real
        except NotADirectoryError:
            raise BadImage(f"{path!r} should be a directory and is a file of this layer") from None

    def _resolve(self, path: str) -> str:
        """The path without links, as a chroot into the root sees it; `` for the root."""
        real = safe_join(self._path, path).relative_to(self._path)
        return "" if real == Path() else str(real)

    def _make(self, real: str) -> None:
        """Make the missing directories of a resolved path."""
        at = 0
        while at >= 0:
            at = real.find("/", at + 1)
            part = real if at < 0 else real[:at]
            try:
                os.mkdir(part, 0o755, dir_fd=self.fd)
                self.implied.add(part)
            except FileExistsError:
                continue
            except NotADirectoryError:
                return

    def _unhide(self, real: str) -> None:
        """Turn a whiteout on the way into a directory that hides what lies below it."""
        parts = real.split("/")
        for count in range(1, len(parts) + 1):
            part = "/".join(parts[:count])
            try:
                status = os.stat(part, dir_fd=self.fd, follow_symlinks=False)
            except OSError:
                return
            if is_whiteout(status):
                os.unlink(part, dir_fd=self.fd)
                os.mkdir(part, 0o755, dir_fd=self.fd)
                self.hide_below(part)
                return

    def hide_below(self, path: str) -> None:
        """Make a directory opaque: nothing of lower layers shows in it."""
        # trusted.*, which wants CAP_SYS_ADMIN: the mounts are made by the host's root without
        # `userxattr`, so a container cannot set or see it.
        fd = open_beneath(self.fd, path or ".", _DIRECTORY | os.O_NOFOLLOW)
        try:
            os.setxattr(fd, OPAQUE, b"y")
        finally:
            os.close(fd)

    def forget(self, real: str) -> None:
        """A directory or link at this path was replaced: nothing known below holds any more."""
        self._forget_all()
        self.implied = {p for p in self.implied if p != real and not p.startswith(real + "/")}
        below = [p for p in self.times if p == real or p.startswith(real + "/")]
        for path in below:
            del self.times[path]

    def _forget_all(self) -> None:
        for fd, _ in self._directories.values():
            os.close(fd)
        self._directories.clear()

    def set_times(self) -> None:
        """Give the directories their times, now that nothing more is put into them.

        Each entry that is made in a directory sets its time to now.
        """
        for path, mtime in self.times.items():
            fd = open_beneath(self.fd, path or ".", _DIRECTORY | os.O_NOFOLLOW, in_root=False)
            try:
                os.utime(fd, ns=(mtime, mtime))
            finally:
                os.close(fd)
