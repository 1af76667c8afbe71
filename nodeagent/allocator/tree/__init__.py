"""What the plan gives: D*, the targets G and the loan graph (semantics 2.2 to 2.4 and 2.9)."""
