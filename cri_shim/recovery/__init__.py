"""Making the records true: once at a start, and again for what resisted then.

It stands above the verbs because it finishes what they began.
"""
