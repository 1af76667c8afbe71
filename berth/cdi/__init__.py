"""Container Device Interface 0.3 to 1.1: its documents, its device names, what they change.

Not here: reading the directories, and stat of device nodes.
"""
