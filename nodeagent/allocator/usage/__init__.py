"""Who holds what: allocations, open claims, and usage rolled up along the tree (semantics 2.3)."""
