"""CNI: network lists from a directory, plugins run as the specification says (0.3.1 to 1.1.0).

Not here: what a plugin does.
"""
