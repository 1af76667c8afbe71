"""Scenarios replayed on the allocator alone, in virtual time."""
