"""Where images are loaded from: a directory, or a tar archive read in place."""

import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from berth.base.errors import InvalidArgument
from berth.linux.files import open_beneath
from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.beneath import clean
from cri_shim.images.unpack.stream import compression, decompressed
from cri_shim.images.unpack.tar_headers import Entry, Kind, read_entries

# docker archives link equal layers to each other; two links that name each other have no end.
_MAX_LINKS = 8
# Each costs memory, and an image has some hundred files.
_MAX_MEMBERS = 200_000


class Source(Protocol):
    """Files by name relative to the layout's root."""

    def open(self, name: str) -> BinaryIO:
        """BadImage where there is no such file."""

    def size(self, name: str) -> int: ...

    def has(self, name: str) -> bool: ...

    def close(self) -> None: ...


def open_source(path: Path, scratch: Path, limit: int) -> Source:
    """A directory or an archive; a compressed one goes into `scratch`, up to `limit` bytes."""
    if path.is_dir():
        return DirectorySource(path)
    if not path.is_file():
        raise InvalidArgument(
            f"{path} is neither file nor directory: give an image archive or layout"
        )
    return TarSource(path, scratch, limit)


class DirectorySource:
    """A directory; links cannot lead out of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open(self, name: str) -> BinaryIO:
        try:
            # O_NONBLOCK: a FIFO among the files would wait for its writer for ever.
            return os.fdopen(open_beneath(self._fd, name, os.O_RDONLY | os.O_NONBLOCK), "rb")
        except OSError as error:
            raise BadImage(f"{self._path} has no file {name}: {error.strerror}") from None

    def size(self, name: str) -> int:
        with self.open(name) as file:
            return os.fstat(file.fileno()).st_size

    def has(self, name: str) -> bool:
        try:
            os.close(open_beneath(self._fd, name, os.O_PATH))
        except OSError:
            return False
        return True

    def close(self) -> None:
        os.close(self._fd)


class TarSource:
    """A tar archive: its members are found once, then read by position."""

    def __init__(self, path: Path, scratch: Path, limit: int) -> None:
        self._path = path
        self._file = _plain(path, scratch, limit)
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            self._find_members()
        except BadImage as error:
            self._file.close()
            raise BadImage(f"{path}: {error}") from None
        except BaseException:
            self._file.close()
            raise

    def _find_members(self) -> None:
        stream = _FileStream(self._file)
        for count, entry in enumerate(read_entries(stream)):
            if count > _MAX_MEMBERS:
                raise BadImage(f"the archive has more than {_MAX_MEMBERS} members: no image")
            # Cleaned as a layer's names are: `./index.json` and `index.json` are one. Nothing is
            # unpacked by these names, so that a wrong one is an error here and no danger.
            name = clean(entry.name)
            match entry.kind:
                case Kind.FILE if entry.regions is None:
                    self._members[name] = (stream.position, entry.stored)
                case Kind.SYMLINK | Kind.HARD_LINK:
                    self._links[name] = _link_target(entry, name)
                case _:
                    continue

    def _locate(self, name: str) -> tuple[int, int]:
        for _ in range(_MAX_LINKS):
            if name in self._members:
                return self._members[name]
            if name not in self._links:
                break
            name = self._links[name]
        raise BadImage(f"{self._path} has no file {name}: it is truncated or no image archive")

    def open(self, name: str) -> BinaryIO:
        offset, size = self._locate(name)
        return io.BufferedReader(_Slice(self._file.fileno(), offset, size), 1 << 18)

    def size(self, name: str) -> int:
        return self._locate(name)[1]

    def has(self, name: str) -> bool:
        return name in self._members or name in self._links

    def close(self) -> None:
        self._file.close()


def _link_target(entry: Entry, name: str) -> str:
    """Hard links name a member from the root, symbolic links from their own directory."""
    if entry.kind is Kind.HARD_LINK or entry.link.startswith("/"):
        return clean(entry.link)
    return clean(str(PurePosixPath(name).parent / entry.link))


def _plain(path: Path, scratch: Path, limit: int) -> BinaryIO:
    """The archive uncompressed: itself, or a nameless copy in `scratch`."""
    file = path.open("rb")
    try:
        if not compression(file.read(8)):
            file.seek(0)
            return file
        with file:
            return _unpacked(file, scratch, limit)
    except BadImage as error:
        file.close()
        raise BadImage(f"{path}: {error}") from None


def _unpacked(file: BinaryIO, scratch: Path, limit: int) -> BinaryIO:
    # Nameless (O_TMPFILE): it is gone with its descriptor, after kill -9 as well. On the store's
    # own filesystem, for /tmp may be memory.
    copy: BinaryIO = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 - the caller closes it
    try:
        _copy_pieces(decompressed(file), copy, limit)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


def _copy_pieces(pieces: Iterator[bytes], target: BinaryIO, limit: int) -> None:
    # The limit of one layer, for the whole archive: before this no layer is looked at.
    for piece in pieces:
        target.write(piece)
        if target.tell() > limit:
            raise BadImage(f"the archive unpacks to more than {limit} bytes: refused as a bomb")


class _FileStream:
    """An open file as the tar reader wants it; what is skipped is not read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.position = 0

    def take(self, count: int) -> bytes:
        data = self._file.read(count)
        self.position += len(data)
        if len(data) < count:
            raise BadImage("the archive ends in the middle of a member: it is truncated")
        return data

    def take_block(self) -> bytes:
        return self.take(512) if self.position < self._size else b""

    def skip(self, count: int) -> None:
        self.position += count
        if self.position > self._size:
            raise BadImage("the archive ends in the middle of a member: it is truncated")
        # Past the end seek() says nothing: hence the look at the size, or a truncated archive would
        # be one with fewer members.
        self._file.seek(self.position)


class _Slice(io.RawIOBase):
    """Part of a file, read by position: several may be open at a time."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = os.dup(fd)
        self._offset = offset
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]  # typeshed wants Buffer, which 3.11 has no public name for
        # pread: several layers are copied at a time, from one descriptor with one position.
        data = os.pread(self._fd, min(len(buffer), self._left), self._offset)
        buffer[: len(data)] = data
        self._offset += len(data)
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()
