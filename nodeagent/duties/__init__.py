"""What the node does: admit, release, reclaim, follow its plan, explain itself.

A duty turns what it hears (of a pod, a file, an event) into an operation and passes it to `ledger`,
which decides and makes it durable. Not here: the wire (`api`), what a decision is (`allocator`).
"""
