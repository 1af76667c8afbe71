"""The single writer: the allocator's state, its timers, the history of events, the journal."""
