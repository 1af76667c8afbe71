"""Checkpoints of pods and containers: archives, their dump with CRIU, and restoring from them."""
