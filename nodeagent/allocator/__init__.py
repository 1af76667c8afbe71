"""Who gets what of the node: consumers, plan, shares, admission, reclaim choice, loans, policies.

What belongs here decides, from state and an operation, with time and sequence as arguments and
integers for quantities. No clock, no random, no file, no log: those live in the rooms above.
"""
