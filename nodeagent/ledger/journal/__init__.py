"""Append-only event log, checksummed; the allocator is rebuilt from it.

Here: frames, segment files, what is found at start, the writer that makes records durable in
batches, snapshots. Not here: what a record means (`duties`).
"""
