"""The requirement language: text to syntax tree, and what a tree says of units with attributes.

`select(expr) order(keys) rusage(phases) affinity(key) antiaffinity(key) span(n) same(key)`.
Here: tokens, parser, tree, evaluation, choosing units. Not here: how much a consumer may hold
(the allocator), where attributes come from. Text is parsed, never evaluated as code.
"""
