"""Numbered steps of the schema; a database from a newer Berth is refused, never touched."""

import sqlite3

from berth.base.errors import FailedPrecondition

# A step that has been released never changes: databases exist that it made. The columns hold what
# must be unique or is looked up; the rest of a record is the JSON of `codec`, which grows without a
# step. `WITHOUT ROWID` since every look-up is by the text key.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sandboxes (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        document TEXT NOT NULL,
        config BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE containers (
        id TEXT PRIMARY KEY,
        sandbox_id TEXT NOT NULL,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        document TEXT NOT NULL,
        config BLOB NOT NULL,
        UNIQUE (sandbox_id, name)
    ) WITHOUT ROWID;
    CREATE TABLE documents (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    """,
)
"""MIGRATIONS[n] takes schema version n to n + 1."""


def migrate(db: sqlite3.Connection, path: str) -> None:
    """Bring the schema to the newest version, one transaction a step.

    Raises FailedPrecondition if the file was written by a newer version.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise FailedPrecondition(
            f"{path} has schema version {version}, this cri-shim knows {len(MIGRATIONS)}: "
            "run the newer cri-shim, or move the file away to start empty"
        )
    for number in range(version, len(MIGRATIONS)):
        # The version is in the transaction: a kill between the two would apply the step twice.
        db.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
        )
