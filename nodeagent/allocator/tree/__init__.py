"""What the plan gives: D*, the targets G and the loan graph, over a tree laid out in arrays."""
