"""Pure and deterministic: consumers, plan, shares, admission, reclaim, loans, policies, requirements.

No clock, no random, no file, no log: time and sequence numbers are arguments, quantities are integers.
"""
