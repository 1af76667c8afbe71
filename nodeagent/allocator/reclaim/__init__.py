"""Notices to borrowers, and the offers with which they respond (semantics 2.8)."""
