"""nodeagent: the node's resource manager.

It holds the ledger of who owns, borrows and lends what on this node, reclaims for owners within a
contract, and reports. Imports point down; `allocator` at the bottom is pure.
"""
