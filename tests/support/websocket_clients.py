"""WebSocket clients that others wrote, and the end of their sockets.

Neither client closes its socket when the server ends the connection: it only sends its part of the
closing handshake. `close_all` is for a fixture, so that no test leaves one to the collector.
"""

from typing import Any

import websocket
from kubernetes.client import Configuration
from kubernetes.stream.ws_client import WSClient, get_websocket_url

_opened: list[websocket.WebSocket] = []


def connect(url: str, *protocols: str) -> websocket.WebSocket:
    """A plain client that offers these subprotocols."""
    address = get_websocket_url(url)
    _opened.append(websocket.create_connection(address, subprotocols=list(protocols), timeout=20))
    return _opened[-1]


def kube(url: str, binary: bool = True, protocol: str | None = None) -> Any:
    """A WSClient as `kubernetes.stream` makes it; it offers versions 5 and 4."""
    headers = {"sec-websocket-protocol": protocol} if protocol else {}
    client = WSClient(Configuration(), get_websocket_url(url), headers, True, binary=binary)
    _opened.append(client.sock)
    return client


def close_all() -> None:
    while _opened:
        _opened.pop().shutdown()
