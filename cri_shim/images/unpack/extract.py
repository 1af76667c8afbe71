"""Entries of a layer become files of one overlay layer directory.

The rules (image-spec layer.md, and what overlayfs wants on disk):

    `.wh.NAME`        a character device 0:0 called NAME, unless this layer has a NAME of its own:
                      then a directory is made opaque and anything else hides the lower one anyway
    `.wh..wh..opq`    the directory gets trusted.overlay.opaque=y
    a later entry     replaces an earlier one of its name; a directory only changes its metadata

overlayfs does not know `.wh.`: a whiteout is for it a character device 0:0, or a directory with
trusted.overlay.opaque. Layers are unpacked without the ones below, so a whiteout is made for
whatever the layer names, also for what no lower layer has.

What a hostile layer tries, and what stops it:

    `../../etc/passwd`, `/etc/passwd`          names are cleaned first, opened beneath the root
    a link `a -> /`, then a file `a/etc/x`     openat2(RESOLVE_IN_ROOT): `/` is the root filled here
    a link `x -> /etc/x`, then a file `x`      O_CREAT | O_EXCL | O_NOFOLLOW: it replaces the link
    a hard link to a file of the host          its target is resolved in the same way, and linkat(2)
                                               does not follow a link at its end
    trusted.overlay.redirect, .metacopy        such attributes are left out: with them a layer could
                                               show other layers' files, or the host's, as its own
    bombs of bytes, entries, header records    the limits of `stream` and `tar_headers`
    setuid programs, device nodes              allowed, they belong to images: the directory above
                                               the layers is 0700, and devices are denied by cgroup

Owners are set before modes and capabilities, because chown(2) takes those away.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass

from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.beneath import Root, clean, is_whiteout
from cri_shim.images.unpack.stream import LayerStream, Limits
from cri_shim.images.unpack.tar_headers import Entry, Kind, read_entries

_WHITEOUT = ".wh."
_OPAQUE_MARK = ".wh..wh..opq"
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_IGNORED_XATTRS = ("trusted.overlay.", "user.overlay.", "security.selinux", "system.nfs4_acl")
"""Overlay's own marks must not come from outside (a redirect shows files that are not there);
labels belong to the host's policy."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of a layer: bytes of regular files, inodes, directories it did not describe."""

    size: int
    inodes: int
    implied: tuple[str, ...]
    opaque: bool
    """The layer hides everything below it."""


def extract(stream: LayerStream, target: str, limits: Limits) -> Unpacked:
    """Fill the empty directory `target`; BadImage names the entry that is wrong.

    Needs umask 0 and CAP_MKNOD, CAP_CHOWN, CAP_SYS_ADMIN (trusted xattrs).
    """
    extraction = _Extraction(stream, Root(target))
    try:
        for count, entry in enumerate(read_entries(stream)):
            if count >= limits.entries:
                raise BadImage(f"the layer has more than {limits.entries} entries")
            extraction.apply(entry)
        return extraction.finish()
    finally:
        extraction.root.close()


class _Extraction:
    def __init__(self, stream: LayerStream, root: Root) -> None:
        self.root = root
        self._stream = stream
        self._size = 0
        self._inodes = 1
        self._opaque = False
        self._make: dict[Kind, Callable[[Entry, int, str], None]] = {
            Kind.FILE: self._file,
            Kind.SYMLINK: self._symlink,
            Kind.CHARACTER: self._node,
            Kind.BLOCK: self._node,
            Kind.FIFO: self._node,
        }

    def finish(self) -> Unpacked:
        self.root.set_times()
        implied = tuple(sorted(self.root.implied))
        return Unpacked(
            self._size, self._inodes + len(self.root.implied - {"."}), implied, self._opaque
        )

    def apply(self, entry: Entry) -> None:
        try:
            self._apply(entry)
        except OSError as error:
            where = f"entry {entry.name!r}: {error.strerror}"
            # These are the host's, and a retry may help. Anything else (ELOOP, ENAMETOOLONG,
            # EINVAL) comes from what the entry says.
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
                raise OSError(error.errno, where) from None
            raise BadImage(where) from None

    def _apply(self, entry: Entry) -> None:
        path = clean(entry.name)
        if not path:
            self._root_entry(entry)
            return
        directory, real, name = self.root.parent(path)
        if name.startswith(_WHITEOUT):
            self._whiteout(directory, real, name, entry)
            return
        whole = f"{real}/{name}" if real else name
        if entry.kind is Kind.DIRECTORY:
            self._directory(entry, directory, name, whole)
        elif entry.kind is Kind.HARD_LINK:
            self._hard_link(entry, directory, name, whole)
        else:
            self._replacing(
                lambda: self._make[entry.kind](entry, directory, name), directory, name, whole
            )
            self._inodes += 1

    def _root_entry(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise BadImage(f"entry {entry.name!r} would replace the root of the image")
        self._describe(entry, self.root.fd)
        self.root.implied.discard(".")
        self.root.times[""] = entry.mtime

    def _whiteout(self, directory: int, real: str, name: str, entry: Entry) -> None:
        # An opaque mark may come after entries of its directory: it hides lower layers, never this
        # one (image-spec layer.md, "Opaque Whiteout").
        if name == _OPAQUE_MARK:
            self.root.hide_below(real)
            self._opaque = self._opaque or not real
            return
        hidden = name[len(_WHITEOUT) :]
        if hidden.startswith(_WHITEOUT):  # .wh..wh.plnk, .wh..wh.aufs: notes of AUFS to itself
            return
        if hidden in ("", ".", ".."):
            raise BadImage(f"whiteout {entry.name!r} hides nothing that can be named")
        try:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=directory)
            self._inodes += 1
        except FileExistsError:
            # The layer has both, `.wh.x` and `x`. Overlay merges directories: for one of this layer
            # to hide the lower one it has to be opaque. A file hides the lower one by itself.
            if stat.S_ISDIR(os.stat(hidden, dir_fd=directory, follow_symlinks=False).st_mode):
                self.root.hide_below(f"{real}/{hidden}" if real else hidden)

    def _replacing(self, make: Callable[[], None], directory: int, name: str, whole: str) -> None:
        """Make something; what lies there already goes away first.

        Nothing is opened or written in place: that would go through a link, or change a file under
        its other hard links.
        """
        try:
            make()
        except FileExistsError:
            self._remove(directory, name, whole)
            make()

    def _remove(self, directory: int, name: str, whole: str) -> None:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            shutil.rmtree(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
        # Paths that were resolved through it are wrong from here on.
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self.root.forget(whole)

    def _directory(self, entry: Entry, directory: int, name: str, whole: str) -> None:
        try:
            os.mkdir(name, entry.mode, dir_fd=directory)
            self._inodes += 1
        except FileExistsError:
            self._make_directory_of(directory, name, whole)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            self._describe(entry, fd)
        finally:
            os.close(fd)
        self.root.times[whole] = entry.mtime

    def _make_directory_of(self, directory: int, name: str, whole: str) -> None:
        """A directory stays; a whiteout becomes an opaque directory; others are replaced."""
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if whole in self.root.implied:
                self.root.implied.remove(whole)
                self._inodes += 1
            return
        self._remove(directory, name, whole)
        os.mkdir(name, dir_fd=directory)
        self._inodes += 1
        if is_whiteout(status):
            self.root.hide_below(whole)

    def _hard_link(self, entry: Entry, directory: int, name: str, whole: str) -> None:
        target = clean(entry.link)
        if not target:
            raise BadImage(f"hard link {entry.name!r} leads to the root of the image")
        there, real, base = self.root.parent(target)
        if (f"{real}/{base}" if real else base) == whole:
            return  # a link to itself: to replace it would remove the file
        try:
            mode = os.stat(base, dir_fd=there, follow_symlinks=False).st_mode
        except FileNotFoundError:
            # Between layers there are no hard links: they would be two inodes in overlay, and
            # builders write the whole file again.
            raise BadImage(
                f"hard link {entry.name!r} leads to {entry.link!r}, which is not in its layer"
            ) from None
        if stat.S_ISDIR(mode):
            raise BadImage(f"hard link {entry.name!r} leads to {entry.link!r}, a directory")
        # Again, both: to resolve the target may have made a directory, or closed one of the cache.
        there, _, _ = self.root.parent(target)
        directory, _, _ = self.root.parent(whole)

        def link() -> None:
            os.link(base, name, src_dir_fd=there, dst_dir_fd=directory, follow_symlinks=False)

        self._replacing(link, directory, name, whole)

    def _file(self, entry: Entry, directory: int, name: str) -> None:
        fd = os.open(name, _CREATE, entry.mode & 0o777, dir_fd=directory)
        try:
            if entry.regions is None:
                for part in self._stream.parts(entry.stored):
                    _write(fd, part)
            else:
                self._sparse(entry, fd)
            self._describe(entry, fd, made=True)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)
        self._size += entry.size

    def _sparse(self, entry: Entry, fd: int) -> None:
        # A hole costs no blocks, so its size is not counted against the limits; usage counts it.
        os.ftruncate(fd, entry.size)
        for offset, length in entry.regions or ():
            os.lseek(fd, offset, os.SEEK_SET)
            for part in self._stream.parts(length):
                _write(fd, part)

    def _symlink(self, entry: Entry, directory: int, name: str) -> None:
        os.symlink(entry.link, name, dir_fd=directory)
        if entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        self._named_xattrs(entry, directory, name)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

    def _node(self, entry: Entry, directory: int, name: str) -> None:
        kinds = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
        # A device 0:0 is a whiteout for overlay, wherever it comes from: that hides, and harms not.
        device = os.makedev(entry.major, entry.minor) if entry.kind is not Kind.FIFO else 0
        os.mknod(name, kinds[entry.kind] | (entry.mode & 0o777), device, dir_fd=directory)
        if entry.uid or entry.gid:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.mode & 0o7000:
            os.chmod(name, entry.mode, dir_fd=directory)
        self._named_xattrs(entry, directory, name)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

    def _named_xattrs(self, entry: Entry, directory: int, name: str) -> None:
        # There is no setxattrat(2) before Linux 6.13, and a link or a device cannot be opened.
        if entry.xattrs:
            self._xattrs(entry, f"/proc/self/fd/{directory}/{name}", follow=False)

    def _describe(self, entry: Entry, fd: int, made: bool = False) -> None:
        """Owner, mode and extended attributes; `made`: created just now with the plain mode."""
        if entry.uid or entry.gid or not made:
            os.fchown(fd, entry.uid, entry.gid)
        if entry.mode & 0o7000 or not made:
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._xattrs(entry, fd, follow=True)

    def _xattrs(self, entry: Entry, target: int | str, follow: bool) -> None:
        for key, value in entry.xattrs.items():
            if key.startswith(_IGNORED_XATTRS):
                continue
            try:
                if isinstance(target, int):
                    os.setxattr(target, key, value)
                else:
                    os.setxattr(target, key, value, follow_symlinks=follow)
            except OSError as error:
                # Without its capabilities a program fails in ways nobody can explain: refuse.
                # Others are decoration, and file systems without them do exist.
                if error.errno != errno.ENOTSUP or key == "security.capability":
                    raise BadImage(
                        f"entry {entry.name!r}: attribute {key}: {error.strerror}"
                    ) from None


def _write(fd: int, part: memoryview) -> None:
    while part:
        part = part[os.write(fd, part) :]
