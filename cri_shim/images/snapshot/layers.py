"""Unpacked layers: `layers/<number>`, one directory for each chain id, shared by images.

                add               commit
    (none) ───────────> fresh ─────────────> good
       ^                  │ retire             │ retire
       └──── remove ──────┴────────────────────┘

A layer is good when its record is, and the record is written only after syncfs(2): files first,
then what vouches for them. After a power cut in between there is a directory without a record,
which goes at the next start. The other order could leave a good record over files of
zero bytes, which no later pull would ever repair, since the layer "is here already".
A record without its directory is dropped at the start, with the images that need it.

Two levels of durability are meant by that. The files are synced, since nothing else tells whether
they are whole. The record is not waited for (it reaches the page cache, which kill -9 does not
touch): if a power cut takes it, the image is pulled again. The one order that would be fatal, the
record on the disk and the files not, cannot happen.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from berth.base.locks import NamedLocks
from berth.linux.files import remove_tree
from cri_shim.images.content.leases import Leases
from cri_shim.images.content.records import Layer, RecordTable
from cri_shim.images.snapshot.parents import inherit
from cri_shim.model.ids import Digest

GONE = ".gone"


class Layers:
    """Layers by chain id; `fresh` ones are unpacked and not yet on the disk for sure."""

    def __init__(self, root: Path, table: RecordTable) -> None:
        self._root = root
        self._table = table
        self.locks = NamedLocks()
        self.leases = Leases()
        self._good: dict[Digest, Layer] = {}
        self._fresh: dict[Digest, Layer] = {}
        self._implied: dict[Digest, tuple[str, ...]] = {}
        self._last = 0
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> None:
        """Read the records; remove directories that have none."""
        # Both ways: kill -9 in a removal leaves a record without its directory, and in a pull a
        # directory without its record.
        for key, document in self._table.all().items():
            layer = Layer.from_document(document)
            if self.path(layer).is_dir():
                self._good[layer.chain] = layer
            else:
                self._table.delete(key)
        # Directories without a record (killed before `commit`), and those on their way out.
        directories = {layer.directory for layer in self._good.values()}
        for path in self._root.iterdir():
            if path.name not in directories:
                remove_tree(path)
        # Counted on from the highest one in use. The number of a directory just removed may come
        # again, which is safe only here: nothing runs yet.
        self._last = max((int(name, 36) for name in directories), default=0)

    def chains(self) -> Iterable[Digest]:
        return self._good.keys()

    def get(self, chain: Digest) -> Layer | None:
        return self._good.get(chain) or self._fresh.get(chain)

    def path(self, layer: Layer) -> Path:
        return self._root / layer.directory

    def new_directory(self) -> Path:
        """A path that was never used: a late `remove` of an earlier layer cannot hit a new one.

        Short, since a kernel before 6.8 takes the paths of all layers in one page of mount(2)
        options: about a hundred of them fit.
        """
        self._last += 1
        return self._root / _base36(self._last)

    def add(self, layer: Layer, implied: tuple[str, ...]) -> None:
        """Make an unpacked directory known; it becomes durable by `commit`.

        `implied` are the directories in it that still want the metadata they have below.
        """
        self._fresh[layer.chain] = layer
        self._implied[layer.chain] = implied

    def finish(self, layers: Sequence[Layer]) -> None:
        """Finish the fresh ones of a whole stack (base first) and sync; blocks, for a thread."""
        paths = [self.path(layer) for layer in layers]
        # From the base up: a directory inherits from one below that may have inherited itself.
        for index, layer in enumerate(layers):
            inherit(paths[index], self._implied.get(layer.chain, ()), paths[:index][::-1])
        self._sync()

    def _sync(self) -> None:
        """Bring the file system to the disk; blocks, for a thread.

        One syncfs(2) instead of an fsync(2) for each of ten thousand files and directories, each of
        which would commit the journal once. It also brings the blobs to the disk.
        """
        fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(self._root))
        finally:
            os.close(fd)

    def commit(self, layer: Layer) -> None:
        """Write the record, after `finish`; nothing where another image's pull has done it."""
        if self._fresh.pop(layer.chain, None) is not None:
            self._implied.pop(layer.chain, None)
            self._table.put(layer.chain, layer.to_document())
            self._good[layer.chain] = layer

    def retire(self, chains: Iterable[Digest]) -> list[Layer]:
        """Take layers without a lease out of use; their directories are then `remove`d.

        The rename comes first: whatever happens afterwards, no half-removed directory is ever
        taken for a layer, not by a start after kill -9 either. It needs no space, so that a full
        disk can be emptied. It runs on the loop, as the one step that must not be apart from the
        look at the leases; it changes a name and touches no file.
        """
        retired = []
        for chain in chains:
            layer = self.get(chain)
            if layer is None or chain in self.leases:
                continue
            with contextlib.suppress(FileNotFoundError):
                path = self.path(layer)
                path.rename(path.with_name(path.name + GONE))
            self._good.pop(chain, None)
            self._fresh.pop(chain, None)
            self._implied.pop(chain, None)
            retired.append(layer)
        return retired

    def remove(self, layers: Iterable[Layer]) -> None:
        """Remove the directories of retired layers; blocks, for a thread."""
        for layer in layers:
            remove_tree(self._root / (layer.directory + GONE))

    def erase(self, layers: Iterable[Layer]) -> None:
        """Remove the records of retired layers, unless they came back."""
        for layer in layers:
            if layer.chain not in self._good:
                self._table.delete(layer.chain)

    def usage(self) -> tuple[int, int]:
        """Bytes and inodes of all layers."""
        good = self._good.values()
        return sum(layer.size for layer in good), sum(layer.inodes for layer in good)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
