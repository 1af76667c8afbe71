"""Durable records: SQLite with one writer, numbered migrations, the boot id, snapshots for readers."""
