"""What both daemons share; it knows neither of them.

`linux` speaks to the kernel, `cdi` reads and applies device descriptions, `pb` holds the generated
stubs of every protocol, and `base` has what any daemon needs: errors, quantities, checked reading
of documents, operations that callers join.
"""
