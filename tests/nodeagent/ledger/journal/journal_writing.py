"""Making journals for the tests of this package."""

from collections.abc import Sequence
from pathlib import Path

from nodeagent.ledger.journal.frames import Json, Record
from nodeagent.ledger.journal.journal import Journal
from nodeagent.ledger.journal.recovery import Recovered


async def fill(directory: Path, *batches: Sequence[Record], segment_bytes: int = 1 << 20) -> None:
    """Append the batches, each durable before the next, then close."""
    journal = Journal(directory, segment_bytes)
    for batch in batches:
        for done in [journal.append(record) for record in batch]:
            await done
    await journal.close()


async def take_snapshot(directory: Path, state: Json) -> None:
    """Open, take a snapshot, close."""
    journal = Journal(directory)
    await journal.snapshot(state)
    await journal.close()


async def reopened(directory: Path) -> Recovered:
    """What opening finds."""
    journal = Journal(directory)
    await journal.close()
    return journal.recovered
