"""Who gets what of the node. Pure: state + operation → decision + events.

The rules are numbered in docs/semantics.md, and cited here as "semantics 2.4".

Read it downwards. `allocator` takes one operation, lets time pass (`timers`) and sends it to what
handles it (`requests`, `plan_change`, `claims`). `claims` decides on requests, on what they may
claim and brings a group to rest; `reclaim` gives notice to borrowers; `grant` gives and frees
units; `policy` orders who is served and who gives back; `usage` says who holds what; `tree`
computes what the plan gives (D*, G, loans); `plan` reads plans; `values` are what goes in and comes
out. `requirement` is a language of its own: which units a request accepts.

Not here: clocks, the journal, the runtime, gRPC (`ledger`, `duties`, `api`).
"""
