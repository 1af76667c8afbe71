"""Who gets what of the node. Pure: state + operation → decision + events.

Read it downwards. `allocator` takes one operation; `dispatch` sends it to what handles it;
`claims` decides on requests and on what they may claim; `reclaim` gives notice to borrowers;
`policy` orders who is served and who gives back; `usage` says who holds what; `tree` computes what
the plan gives (D*, G, loans); `plan` reads plans; `values` are what goes in and comes out.
Not here: clocks, the journal, the runtime, gRPC (`ledger`, `duties`, `api`).
"""
