"""The edge of exec, attach and port-forward: HTTP upgrade, tokens, SPDY and WebSocket endpoints.

Not here: framing (`wire`), what runs in the container (`verbs.streams`, `runtime`).
"""
