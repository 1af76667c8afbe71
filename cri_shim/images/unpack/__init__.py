"""From the bytes of a layer to files below one directory, in processes of their own.

The input is hostile: nothing here resolves a path outside the directory that is filled.
"""
