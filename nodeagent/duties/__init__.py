"""What the node does: admit, release, reclaim; each duty asks `allocator` and journals."""
