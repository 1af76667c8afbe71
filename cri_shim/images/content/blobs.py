"""The content store: `blobs/<algorithm>/<hex>`, every file what its name says.

A blob grows as `<hex>.partial` and is renamed when its digest and size are verified. What a
broken download leaves is taken up by the next one, or removed when it is a day old.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from berth.base.errors import RuntimeFailure
from cri_shim.images.document.manifest import Descriptor
from cri_shim.images.errors import BadImage
from cri_shim.images.locks import Holds, NamedLocks
from cri_shim.model.ids import Digest

PARTIAL = ".partial"
_KEEP_PARTIAL = 86400.0
_CHUNK = 1 << 20


class Writing:
    """A blob that is being filled: a file and the hash of what is in it.

    The methods block for the time of a write; call them from a thread for large data.
    """

    def __init__(self, path: Path, wanted: Descriptor) -> None:
        self._path = path
        self._wanted = wanted
        self._file = path.open("a+b", buffering=0)
        self._hash = hashlib.new(wanted.digest.partition(":")[0])
        self.size = 0

    def take_up(self) -> int:
        """Read what an earlier download left; its size is where to go on."""
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)
        if self.size > self._wanted.size:
            self.start_over()
        return self.size

    def start_over(self) -> None:
        self._file.truncate(0)
        self._hash = hashlib.new(self._wanted.digest.partition(":")[0])
        self.size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append; BadImage as soon as there is more than promised."""
        if self.size + len(data) > self._wanted.size:
            raise BadImage(
                f"blob {self._wanted.digest} is longer than the {self._wanted.size} bytes "
                "that its manifest promises"
            )
        self._hash.update(data)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise RuntimeFailure(f"{self._path} cannot be written: {error.strerror}") from error
        self.size += len(data)

    def verify(self) -> None:
        """BadImage where size or digest are not those promised."""
        if self.size != self._wanted.size:
            raise BadImage(
                f"blob {self._wanted.digest} has {self.size} bytes and its manifest promises "
                f"{self._wanted.size}"
            )
        found = f"{self._hash.name}:{self._hash.hexdigest()}"
        if found != self._wanted.digest:
            raise BadImage(f"blob {self._wanted.digest} has the digest {found}")

    def close(self) -> None:
        self._file.close()


class Blobs:
    """Blobs by digest. `holds` keep some from being collected while an image is being made."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.locks = NamedLocks()
        self.holds = Holds()
        for algorithm in ("sha256", "sha512"):
            (root / algorithm).mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, digest: Digest) -> Path:
        algorithm, _, name = digest.partition(":")
        return self._root / algorithm / name

    def has(self, wanted: Descriptor) -> bool:
        """Whether it is there whole (by size: what a power cut may have shortened is not)."""
        try:
            return self.path(wanted.digest).stat().st_size == wanted.size
        except FileNotFoundError:
            return False

    def read(self, digest: Digest, limit: int) -> bytes:
        """A small blob; RuntimeFailure where it is missing."""
        try:
            with self.path(digest).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            raise RuntimeFailure(
                f"blob {digest} is missing from the store {self._root}: pull the image again"
            ) from None

    @contextlib.contextmanager
    def writing(self, wanted: Descriptor) -> Iterator[Writing]:
        """Fill a blob: at the end of the block it is verified and gets its name.

        On BadImage the file goes; on other errors it stays to be taken up. The caller holds
        `locks` for the digest.
        """
        partial = self._partial(wanted.digest)
        writing = Writing(partial, wanted)
        try:
            yield writing
            writing.verify()
            partial.rename(self.path(wanted.digest))
        except BadImage:
            partial.unlink(missing_ok=True)
            raise
        finally:
            writing.close()

    def _partial(self, digest: Digest) -> Path:
        path = self.path(digest)
        return path.with_name(path.name + PARTIAL)

    def add(self, data: bytes, digest: Digest) -> None:
        """Store a small document whose digest is known to be right."""
        partial = self._partial(digest)
        partial.write_bytes(data)
        partial.rename(self.path(digest))

    def copy(self, source: BinaryIO, wanted: Descriptor) -> None:
        """Fill a blob from an open file; blocks, for a thread."""
        with self.writing(wanted) as writing:
            writing.start_over()
            left = wanted.size + 1
            while left and (chunk := source.read(min(_CHUNK, left))):
                writing.write(chunk)
                left -= len(chunk)

    def discard(self, digests: Iterable[Digest], resumable: bool = False) -> None:
        """Remove blobs that nobody holds; `resumable` keeps their content for a next attempt."""
        for digest in set(digests):
            if digest in self.holds:
                continue
            if resumable:
                with contextlib.suppress(FileNotFoundError):
                    self.path(digest).rename(self._partial(digest))
                continue
            self.path(digest).unlink(missing_ok=True)
            self._partial(digest).unlink(missing_ok=True)

    def sweep(self, known: Iterable[Digest]) -> None:
        """Remove blobs that no image names, and old remains of downloads. At start."""
        names = {self.path(digest) for digest in known}
        for path in self._root.glob("*/*"):
            if path not in names and not path.name.endswith(PARTIAL):
                path.unlink(missing_ok=True)
        self.expire()

    def expire(self) -> None:
        """Remove what broken downloads left more than a day ago."""
        oldest = time.time() - _KEEP_PARTIAL
        for path in self._root.glob(f"*/*{PARTIAL}"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """Bytes of each blob; 0 for one that was not needed (its layer was here already)."""
        found = {}
        for digest in digests:
            try:
                found[digest] = self.path(digest).stat().st_size
            except FileNotFoundError:
                found[digest] = 0
        return found
