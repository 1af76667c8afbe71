"""Files: replaced in one step, opened below a root that they cannot leave, trees removed."""

import errno
import os
import secrets
import stat
from pathlib import Path

from berth.linux.syscalls import Resolve, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_SAME_MOUNT = Resolve.NO_XDEV | Resolve.NO_SYMLINKS
_DEPTH = 32
"""How deep `remove_tree` keeps descriptors open; what lies deeper is first moved up."""
_MAX_LINKS = 255
"""Symbolic links followed in one path before it counts as a loop (the kernel follows 40)."""


def atomic_write(path: Path, data: bytes, mode: int = 0o600, durable: bool = True) -> None:
    """Replace the file by one with this content: readers see the old or the new, never a part.

    `durable` waits until file and name are on the disk. On an error nothing is left behind; a
    kill -9 may leave the draft, `.NAME.` with eight digits.
    """
    # In the same directory, for rename(2) does not cross filesystems.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            os.fchmod(fd, mode)  # the umask took bits away at open(2)
            write_all(fd, data)
            # Before the rename: the name may reach the disk first, and after a crash the file
            # would be there, empty.
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def write_all(fd: int, data: bytes) -> None:
    """Write everything to a blocking descriptor."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_once(path: str, data: bytes) -> None:
    """Give a kernel file its value in one write; OSError names the file.

    A second write(2) would be a second command to the kernel, so nothing is buffered.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def sync_directory(path: Path) -> None:
    """Bring a directory's names to the disk: fsync(2) of a file does not cover its name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_text(path: str | Path) -> str | None:
    """The content of a small (kernel) file; None where file or its process is gone.

    Bytes that are not UTF-8 come as surrogates.
    """
    data = read_bytes(path)
    return None if data is None else data.decode("utf-8", "surrogateescape")


def read_bytes(path: str | Path) -> bytes | None:
    """The content of a small (kernel) file; None where file or its process is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError):
        return None
    try:
        return _read_all(fd)
    except OSError as error:
        # Gone since it was opened: a process (ESRCH), a control group or device (ENODEV).
        if error.errno in (errno.ESRCH, errno.ENODEV):
            return None
        raise
    finally:
        os.close(fd)


def _read_all(fd: int) -> bytes:
    """Read to the end: a kernel file may give less than was asked for before its end."""
    chunks = []
    while chunk := os.read(fd, 1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


def open_beneath(root_fd: int, path: str, flags: int, mode: int = 0, in_root: bool = True) -> int:
    """Open a path that cannot leave the directory `root_fd`, whatever links are in it.

    `in_root`: absolute names and links are taken from the root, `..` stops there, as in a
    chroot; otherwise they are refused with EXDEV. Links of /proc are never followed (ELOOP).

    The kernel checks each step as it takes it. To resolve a name first and open it then loses
    against a container that puts a link there in between (CVE-2018-15664, docker cp).
    """
    bound = Resolve.IN_ROOT if in_root else Resolve.BENEATH
    # openat2(2) refuses a mode where nothing is made. O_TMPFILE contains O_DIRECTORY.
    creates = flags & os.O_CREAT or flags & os.O_TMPFILE == os.O_TMPFILE
    return openat2(root_fd, path, flags, mode if creates else 0, bound | Resolve.NO_MAGICLINKS)


def safe_join(root: Path, path: str) -> Path:
    """The path as seen by a process whose root is `root`, as a path of the host.

    Links are resolved inside the root; parts that do not exist are kept as they are. Only for a
    root below which nobody else writes meanwhile: elsewhere use `open_beneath`.
    """
    done: list[str] = []
    rest = path.split("/")[::-1]
    links = 0
    while rest:
        part = rest.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]  # at the root it stays there, as the kernel has it
            continue
        target = _link(root.joinpath(*done, part))
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        rest += target.split("/")[::-1]  # a link's target comes before what followed the link
    return root.joinpath(*done)


def _link(path: Path) -> str | None:
    """The target of a symbolic link, None for anything else."""
    try:
        return os.readlink(path)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def remove_tree(path: Path) -> None:
    """Remove a file or a directory with all in it; missing is fine.

    Follows no link and enters no mount: a mount at or below `path` gives EXDEV or EBUSY, naming
    it, and its content stays. A tree of containers may be nested without end: deeper than `_DEPTH`
    directories are moved up first, so that neither descriptors nor the stack run out
    (shutil.rmtree recurses).
    """
    try:
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        _remove_entry(parent, path.name, str(path.parent))
    except FileNotFoundError:
        return
    finally:
        os.close(parent)


def _remove_entry(parent: int, name: str, where: str) -> None:
    shown = f"{where}/{name}"
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        top = _enter(parent, name, shown)
        try:
            while _empty(top, top, shown, 0):
                pass
        finally:
            os.close(top)
        os.rmdir(name, dir_fd=parent)
    except OSError as error:
        raise _named(error, shown) from None


def _enter(parent: int, name: str, shown: str) -> int:
    try:
        return openat2(parent, name, _DIRECTORY, 0, _SAME_MOUNT)
    except OSError as error:
        raise _named(error, shown) from None


def _named(error: OSError, shown: str) -> OSError:
    """The same error with the whole path, unless it already names one."""
    if isinstance(error.filename, str) and error.filename.startswith("/"):
        return error
    return OSError(error.errno, error.strerror, shown)


def _empty(directory: int, top: int, where: str, depth: int) -> int:
    """Remove what is in the directory; returns how many directories were moved up to `top`."""
    moved = 0
    # Listed first: removing while reading a directory may skip entries.
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        shown = f"{where}/{name}"
        try:
            if not is_directory:
                os.unlink(name, dir_fd=directory)
            elif depth >= _DEPTH:
                # Under a name of its own, for the same one may be there already.
                aside = f".removed-{secrets.token_hex(8)}"
                os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=top)
                moved += 1
            else:
                moved += _empty_directory(directory, name, top, shown, depth)
        except FileNotFoundError:
            continue  # somebody else removes too
        except OSError as error:
            raise _named(error, shown) from None
    return moved


def _empty_directory(parent: int, name: str, top: int, where: str, depth: int) -> int:
    fd = _enter(parent, name, where)
    try:
        moved = _empty(fd, top, where, depth + 1)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
    return moved
