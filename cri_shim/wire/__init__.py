"""Pure protocols, bytes in and events out: SPDY, remote-command channels, port-forward, log lines."""
