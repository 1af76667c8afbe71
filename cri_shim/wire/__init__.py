"""Pure protocols, bytes in and events out: SPDY/3.1, remote commands, port-forward, conmon.

Here: what bytes mean. Not here: sockets, clocks, processes (`streaming`, `runtime`), HTTP and
WebSocket framing (`h11` and `wsproto` do those at the edge).
"""
