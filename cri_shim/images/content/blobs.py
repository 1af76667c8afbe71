"""The content store: `blobs/<algorithm>/<hex>`, every file what its name says.

A blob grows as `<hex>.partial` and is renamed when its digest and size are verified, so that a name
without a suffix vouches for the content, after kill -9 too. What a broken download leaves is taken
up by the next one, or removed when it is a day old. `<hex>.<n>.gone` is on its way out.

Nothing is synced here: the pull syncs the whole file system once, before it records the image. A
power cut before that may leave a short file under a good name, hence the look at sizes in `has`.
"""

import contextlib
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import BinaryIO

from berth.base.errors import RuntimeFailure
from berth.base.locks import NamedLocks
from berth.linux.threads import in_thread
from cri_shim.images.content.leases import Leases
from cri_shim.images.document.manifest import Descriptor
from cri_shim.images.errors import BadImage
from cri_shim.model.ids import Digest

PARTIAL = ".partial"
_GONE = ".gone"
_KEEP_PARTIAL = 86400.0
_CHUNK = 1 << 20


class Writing:
    """A blob that is being filled: a file and the hash of what is in it.

    The methods block for the time of a read or a write: for a thread. The hash is kept up with the
    file, for to read a blob of gigabytes once more only to verify it doubles the time on a slow
    disk.
    """

    def __init__(self, path: Path, wanted: Descriptor) -> None:
        self._path = path
        self._wanted = wanted
        # For appending: wherever the hash has read to, what is written goes to the end.
        self._file = path.open("a+b", buffering=0)
        self._hash = hashlib.new(wanted.digest.partition(":")[0])
        self.size = 0

    def take_up(self) -> int:
        """Read what an earlier download left; its size is where to go on."""
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)
        # Another attempt wrote it, or a bug did. Nothing of it can be trusted more than the rest.
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
        # write(2) may take a part, on a disk that is nearly full for instance.
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise RuntimeFailure(f"{self._path} cannot be written: {error.strerror}") from error
        self.size += len(data)

    def fill(self, source: BinaryIO) -> None:
        """Take everything from an open file; it may be longer than promised by a byte, to tell."""
        self.start_over()
        left = self._wanted.size + 1
        while left and (chunk := source.read(min(_CHUNK, left))):
            self.write(chunk)
            left -= len(chunk)

    def keep(self, name: Path) -> None:
        """Give the file its name; BadImage where size or digest are not those promised."""
        self._verify()
        self._path.rename(name)

    def _verify(self) -> None:
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
    """Blobs by digest. `leases` keep some from being collected while an image is being made."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.locks = NamedLocks()
        self.leases = Leases()
        self._numbers = itertools.count()
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
        """A small blob; RuntimeFailure where it is missing. Blocks."""
        try:
            with self.path(digest).open("rb") as file:
                return file.read(limit)
        except FileNotFoundError:
            raise RuntimeFailure(
                f"blob {digest} is missing from the store {self._root}: pull the image again"
            ) from None

    @contextlib.asynccontextmanager
    async def writing(self, wanted: Descriptor) -> AsyncIterator[Writing]:
        """Fill a blob: at the end of the block it is verified and gets its name.

        On BadImage the file goes; on other errors it stays to be taken up. The caller holds
        `locks` for the digest, or two would append to the same file.
        """
        partial = self._partial(wanted.digest)
        writing = await in_thread(Writing, partial, wanted)
        try:
            yield writing
            await in_thread(writing.keep, self.path(wanted.digest))
        except BadImage:
            # What is wrong already cannot become right by more bytes.
            await in_thread(partial.unlink, missing_ok=True)
            raise
        finally:
            writing.close()

    def _partial(self, digest: Digest) -> Path:
        path = self.path(digest)
        return path.with_name(path.name + PARTIAL)

    async def add(self, data: bytes, digest: Digest) -> None:
        """Store a small document whose digest is known to be right."""

        def write() -> None:
            partial = self._partial(digest)
            partial.write_bytes(data)
            partial.rename(self.path(digest))

        async with self.locks.hold(digest):
            await in_thread(write)

    def discard(self, digests: Iterable[Digest], resumable: bool = False) -> list[Path]:
        """Put blobs without a lease out of the way; the files returned are for `unlink_all`.

        `resumable` keeps their content for a next attempt. Here, on the loop, they only get other
        names: nobody can lease one between the look at the leases and its end. To unlink a large
        file takes its time, since the file system gives back every extent of it.
        """
        aside: list[Path] = []
        for digest in set(digests):
            if digest in self.leases:
                continue
            if resumable:
                with contextlib.suppress(FileNotFoundError):
                    self.path(digest).rename(self._partial(digest))
                continue
            aside += self._put_aside(self.path(digest))
            aside += self._put_aside(self._partial(digest))
        return aside

    def _put_aside(self, path: Path) -> list[Path]:
        aside = path.with_name(f"{path.name}.{next(self._numbers)}{_GONE}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return []
        except OSError:
            # A longer name may want a new block of the directory, which a full disk does not have.
            path.unlink(missing_ok=True)
            return []
        return [aside]

    def unlink_all(self, paths: Iterable[Path]) -> None:
        """Remove what `discard` put aside. Blocks, for a thread."""
        for path in paths:
            path.unlink(missing_ok=True)

    def sweep(self, known: Iterable[Digest]) -> None:
        """Remove blobs that no image names, and old remains of downloads. Blocks; at start."""
        names = {self.path(digest) for digest in known}
        for path in self._root.glob("*/*"):
            if path not in names and not path.name.endswith(PARTIAL):
                path.unlink(missing_ok=True)
        self.expire()

    def expire(self) -> None:
        """Remove what broken downloads left more than a day ago. Blocks, for a thread."""
        oldest = time.time() - _KEEP_PARTIAL
        for path in self._root.glob(f"*/*{PARTIAL}"):
            if f"{path.parent.name}:{path.name.removesuffix(PARTIAL)}" in self.leases:
                continue  # a pull goes on with it just now
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """Bytes of each blob, 0 for one whose layer was here already. Blocks."""
        found = {}
        for digest in digests:
            try:
                found[digest] = self.path(digest).stat().st_size
            except FileNotFoundError:
                found[digest] = 0
        return found
