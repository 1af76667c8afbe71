"""All images by id and by name; readers see an immutable snapshot."""

from collections.abc import Iterable

from berth.base.errors import InvalidArgument
from cri_shim.images.content.records import RecordTable, StoredImage
from cri_shim.images.document.reference import Reference, parse_id, short_id
from cri_shim.model.ids import Digest, ImageId
from cri_shim.model.image import Image


class Catalog:
    """The images. Every change is written to the table before it is seen.

    Not durably: an image that a power cut takes away is pulled again, while waiting for the disk
    would hold up every other request.
    """

    def __init__(self, table: RecordTable) -> None:
        self._table = table
        self._images: dict[ImageId, StoredImage] = {}
        self._names: dict[str, ImageId] = {}
        self._snapshot: tuple[Image, ...] = ()

    def load(self, layers: Iterable[Digest]) -> list[ImageId]:
        """Read the table; images whose layers are gone are dropped and their ids returned."""
        # An image without all of its layers cannot run. As a missing one it is pulled again, by
        # kubelet's own rule; as a present one it would fail at each start.
        present = set(layers)
        dropped = []
        for key, document in self._table.all().items():
            stored = StoredImage.from_document(document)
            if set(stored.image.layers) <= present:
                self._images[stored.image.id] = stored
            else:
                dropped.append(stored.image.id)
                self._table.delete(key)
        self._refresh()
        return dropped

    def list(self) -> tuple[Image, ...]:
        return self._snapshot

    def stored(self) -> Iterable[StoredImage]:
        return self._images.values()

    def by_id(self, image_id: str) -> StoredImage | None:
        return self._images.get(ImageId(image_id))

    def find(self, text: str) -> StoredImage | None:
        """By id, by name (tag `latest` implied), by name and digest, or by a short id."""
        # The full id first: kubelet asks by it most, and it needs no grammar.
        full = parse_id(text)
        if full is not None:
            return self._images.get(ImageId(full))
        try:
            named = self._by_name(Reference.parse(text))
        except InvalidArgument:
            named = None
        return named or self._by_short_id(text)

    def _by_name(self, reference: Reference) -> StoredImage | None:
        """The digest counts where there are both."""
        name = reference.at(reference.digest) if reference.digest else reference.tagged
        image_id = self._names.get(name or "")
        return self._images.get(image_id) if image_id else None

    def _by_short_id(self, text: str) -> StoredImage | None:
        prefix = short_id(text)
        if prefix is None:
            return None
        # As with git: a prefix that fits two is no name.
        found = [stored for key, stored in self._images.items() if key.startswith(prefix)]
        return found[0] if len(found) == 1 else None

    # A tag is the name of one image at a time, as a branch in git; digests never move.
    def put(self, new: StoredImage) -> Image:
        """Add an image, or names to one that is there; its tags leave the images that had them."""
        old = self._images.get(new.image.id)
        if old is not None:
            new = new.renamed(
                _joined(old.image.tags, new.image.tags),
                _joined(old.image.digests, new.image.digests),
            )
        # The others' records first: after kill -9 in between a tag is missing, which the next pull
        # mends. The other order could leave it on two images, and nothing tells which is right.
        for other in list(self._images.values()):
            if other.image.id != new.image.id:
                self._take_tags(other, set(new.image.tags))
        self._table.put(new.image.id, new.to_document())
        self._images[new.image.id] = new
        self._refresh()
        return new.image

    def _take_tags(self, stored: StoredImage, tags: set[str]) -> None:
        kept = tuple(tag for tag in stored.image.tags if tag not in tags)
        if kept != stored.image.tags:
            changed = stored.renamed(kept, stored.image.digests)
            self._images[stored.image.id] = changed
            self._table.put(stored.image.id, changed.to_document())

    def forget(self, image_id: ImageId) -> None:
        """Make an image invisible; its record stays until `erase`."""
        self._images.pop(image_id, None)
        self._refresh()

    def erase(self, image_id: ImageId) -> None:
        """Remove the record, unless the image came back meanwhile."""
        if image_id not in self._images:
            self._table.delete(image_id)

    def _refresh(self) -> None:
        # Made anew each time: images are some hundreds, changes are rare, and readers between two
        # awaits see the old tuple or the new one, never one that changes under their iteration.
        self._names = {
            name: image_id
            for image_id, stored in self._images.items()
            for name in (*stored.image.tags, *stored.image.digests)
        }
        self._snapshot = tuple(stored.image for stored in self._images.values())


def _joined(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))
