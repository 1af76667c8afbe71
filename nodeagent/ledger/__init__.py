"""The single writer: the allocator's state, its timers, the history of events, the journal.

Not here: what a decision is (`allocator`), who asks for one and what follows from it (`duties`).
"""
