"""The verbs of pods and containers, one file each, and what keeps their records true.

A verb reads as a list of steps, each registering its undo at once.
Not here: how an image, a network or an OCI runtime works (the floor below).
"""
