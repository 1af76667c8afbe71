"""Leases, which keep what they name from being collected."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator


class Leases:
    """Names of blobs or layers that a running pull or save needs and no record mentions yet.

    In memory only: after kill -9 nothing runs that could need them, and the next start collects
    whatever no record names.
    """

    def __init__(self) -> None:
        # A count for each name: two pulls may need the same layer, and the first one to end must
        # not take it from under the other.
        self._counts: Counter[str] = Counter()

    def __contains__(self, name: str) -> bool:
        return name in self._counts

    @contextlib.contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        kept = tuple(names)
        self._counts.update(kept)
        try:
            yield
        finally:
            self._counts -= Counter(kept)
