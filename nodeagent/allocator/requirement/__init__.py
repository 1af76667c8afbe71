"""The requirement language (semantics 2.12): text to syntax tree, tree to the units it accepts.

`select(expr) order(keys) rusage(phases) affinity(key) antiaffinity(key) span(n) same(key)`.
Here: tokens, parser, tree, evaluation, choosing units. Not here: how much a consumer may hold
(the allocator), where attributes come from. Text is parsed, never evaluated as code.
"""
