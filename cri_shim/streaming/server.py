"""The streaming server: grants URLs for requests and serves the clients that come with them."""

import asyncio
import ssl
from pathlib import Path

from berth.base.errors import Unavailable
from berth.linux.tasks import Tasks
from cri_shim.streaming.connection import Client, Connection, Scratch, new_inbox
from cri_shim.streaming.handshake import Handshake, Refused
from cri_shim.streaming.hangup import HangupWatch
from cri_shim.streaming.limits import CHUNK, Limits
from cri_shim.streaming.requests import Opener, StreamRequest
from cri_shim.streaming.serving import KINDS, serve
from cri_shim.streaming.tokens import TokenTable

# kubelet connects to the host of the URL: an address to listen on is not always one to connect to.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_KIND_OF = {request: kind for kind, request in KINDS.items()}


class StreamingServer:
    """Listens on one address. `start`, then `url` for each granted request, `close` at the end."""

    def __init__(
        self,
        opener: Opener,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: Path | None = None,
        key: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`port` 0 takes a free one. TLS where a certificate (PEM, with its chain) is given."""
        self._opener = opener
        self._host = host.strip("[]")
        self._port = port
        self._certificate = certificate
        self._key = key
        self._limits = limits or Limits()
        self._tasks = Tasks()
        self._closing = Tasks()
        self._connections: set[Connection] = set()
        self._inbox = new_inbox()
        self._scratch = Scratch(CHUNK)
        self._tokens: TokenTable
        self._watch: HangupWatch
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; Unavailable where the address or the certificate cannot be used."""
        loop = asyncio.get_running_loop()
        context = self._tls()
        self._tokens = TokenTable(self._limits.tokens, self._limits.token_lifetime, loop.time)
        self._watch = HangupWatch()
        # asyncio allows a TLS handshake 60 s; here it is part of the time for the request.
        timeout = self._limits.head_timeout if context else None
        try:
            self._server = await loop.create_server(
                self._new_connection,
                self._host,
                self._port,
                ssl=context,
                ssl_handshake_timeout=timeout,
            )
        except OSError as error:
            self._watch.close()
            raise Unavailable(
                f"streaming server cannot listen on {self._host}:{self._port}: {error}; "
                "set another address under [streaming]"
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]

    def url(self, request: StreamRequest) -> str:
        """A URL that serves the request once, within a minute; ResourceExhausted if too many."""
        token = self._tokens.insert(request)
        scheme = "https" if self._certificate else "http"
        host = _WILDCARDS.get(self._host, self._host)
        shown = f"[{host}]" if ":" in host else host
        return f"{scheme}://{shown}:{self._port}/{_KIND_OF[type(request)]}/{token}"

    async def close(self) -> None:
        """Stop listening and end all clients and what they run."""
        if self._server is None:
            return
        self._server.close()
        # In this order: the first cancels the clients' tasks, whose last act is to start closing
        # what they opened; the second waits for that.
        await self._tasks.close()
        await self._closing.close()
        for connection in tuple(self._connections):
            connection.abort()
        for connection in tuple(self._connections):
            await connection.gone.wait()
        self._watch.close()
        self._server = None

    def _tls(self) -> ssl.SSLContext | None:
        if self._certificate is None:
            return None
        # No client certificate is asked for: the token is the credential, and kubelet's proxy has
        # no certificate for this port.
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self._certificate, self._key)
        except OSError as error:
            raise Unavailable(
                f"streaming server cannot use certificate {self._certificate} "
                f"with key {self._key or self._certificate}: {error}"
            ) from error
        return context

    def _new_connection(self) -> Connection:
        return Connection(self._limits, self._inbox, self._watch, self._connected)

    def _connected(self, connection: Connection) -> None:
        # Here and not in the task: with TLS the request may come in this very call of the loop.
        handshake = Handshake(connection)
        if len(self._connections) >= self._limits.connections:
            busy = f"{len(self._connections)} streaming clients are connected: try again later"
            # It was never counted: nothing is to be taken back when it is lost.
            handshake.refuse(Refused(429, busy))
            connection.on_lost = lambda: None
            connection.close_soon()
            return
        self._connections.add(connection)
        client = Client(connection, self._limits, self._scratch, self._closing)
        serving = serve(client, handshake, self._tokens, self._opener)
        task = self._tasks.start(serving, "serve a client")
        connection.on_lost = lambda: self._lost(connection, task)
        # Both ways: a lost connection cancels its task, and a task that ends, however, closes it.
        task.add_done_callback(lambda _: connection.abort())

    def _lost(self, connection: Connection, task: "asyncio.Task[None]") -> None:
        self._connections.discard(connection)
        task.cancel()
