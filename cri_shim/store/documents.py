"""Small JSON documents by kind and key, for packages that keep records of their own.

Images, layers, address leases and network attachments are theirs to understand: the store knows
none of their fields, so that none of them needs a migration here.
"""

import json
import sqlite3
from typing import Any

Document = dict[str, Any]


class DocumentTable:
    """The documents of one kind (image, layer, lease, …). Calls take about 50 µs."""

    def __init__(self, db: sqlite3.Connection, kind: str) -> None:
        self._db = db
        self._kind = kind

    def put(self, key: str, document: Document, durable: bool = False) -> None:
        """Write or replace; `durable` also waits for the disk (what must outlive a power cut)."""
        # In WAL mode NORMAL syncs the log at checkpoints only: after a power cut the newest writes
        # may be missing, never half there. FULL syncs it in this commit.
        if durable:
            self._db.execute("PRAGMA synchronous = FULL")
        try:
            self._db.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)",
                (self._kind, key, json.dumps(document)),
            )
        finally:
            if durable:
                self._db.execute("PRAGMA synchronous = NORMAL")

    def delete(self, key: str) -> None:
        """Missing is fine."""
        self._db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (self._kind, key))

    def get(self, key: str) -> Document | None:
        row = self._db.execute(
            "SELECT document FROM documents WHERE kind = ? AND key = ?", (self._kind, key)
        ).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    def all(self) -> dict[str, Document]:
        rows = self._db.execute(
            "SELECT key, document FROM documents WHERE kind = ? ORDER BY key", (self._kind,)
        )
        return {key: json.loads(document) for key, document in rows}
