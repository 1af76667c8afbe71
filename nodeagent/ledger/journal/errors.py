"""What is wrong with a journal: the file, the place in it, and what to do."""

from pathlib import Path


class JournalError(Exception):
    """The journal cannot be used; the message names file, cause and remedy."""


class JournalCorrupt(JournalError):
    """Bytes that were durable are damaged or gone: nothing is guessed, nothing is changed.

    `file` and `offset` say where. To go on without them is a decision for people: the allocator
    would take units for free that running pods have, until the runtime announces those pods.
    """

    def __init__(self, file: Path, offset: int, problem: str) -> None:
        super().__init__(
            f"{file}: {problem} at byte {offset}. The journal was not changed. Restore it "
            f"from a copy, or move {file.parent} away and start empty: running pods are announced "
            "again by the runtime, loans and notices in flight are lost"
        )
        self.file = file
        self.offset = offset
