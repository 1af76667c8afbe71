"""Durable records: SQLite, one writer, numbered migrations, the boot id, snapshots for readers.

Here: how records live on disk. Not here: what a record means (`model`), when it changes (`pods`).
"""
