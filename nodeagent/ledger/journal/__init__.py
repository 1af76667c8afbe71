"""Append-only log of records, checksummed, with snapshots; the ledger is rebuilt from it.

    <state>/journal/lock                  held by the process that has the journal open
    <state>/journal/segment-<number>      records from that number on, in frames (`frames`)
    <state>/journal/snapshot-<number>     the state after the record of that number, one frame
    <state>/journal/damaged-snapshot-…    set aside for people to look at
    <state>/journal/.s…                   being written when the agent was killed; removed at start

Here: frames, segment files, what is found at start, the writer that makes records durable in
batches, snapshots. Not here: what a record means (`ledger.records`).
"""
