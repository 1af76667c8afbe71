"""One client from its HTTP request to its end.

HTTP request ──▶ token ──▶ protocol ──▶ 101 ──▶ streams ──▶ copy ──▶ outcome ──▶ close
    │ 400, 405     │ 404       │ 403              └ none within 30 s: close
"""

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import replace

from berth.linux.tasks import Tasks
from cri_shim.streaming.client_streams import ClientStream
from cri_shim.streaming.connection import Client
from cri_shim.streaming.exec_attach import Streams, report, run_attach, run_exec
from cri_shim.streaming.forwarding import Dial, SpdyForwarding, forward
from cri_shim.streaming.handshake import Handshake, Refused, Upgrade, Wire
from cri_shim.streaming.requests import (
    AttachRequest,
    ExecRequest,
    Opener,
    PortForwardRequest,
    StreamRequest,
)
from cri_shim.streaming.spdy_endpoint import SpdyEndpoint, SpdyStream
from cri_shim.streaming.tokens import TokenTable
from cri_shim.streaming.tunnel import Tunnel
from cri_shim.streaming.websocket_endpoint import WebSocketEndpoint
from cri_shim.wire import port_forward
from cri_shim.wire.remote_command import (
    SPDY_PROTOCOLS,
    WEBSOCKET_PROTOCOLS,
    CommandProtocol,
    Outcome,
    StreamType,
    Wanted,
    choose_protocol,
)
from cri_shim.wire.spdy_headers import Headers
from cri_shim.wire.websocket_channels import Channel

KINDS: dict[str, type[StreamRequest]] = {
    "exec": ExecRequest,
    "attach": AttachRequest,
    "portforward": PortForwardRequest,
}

_CHANNELS = {
    StreamType.STDIN: Channel.STDIN,
    StreamType.STDOUT: Channel.STDOUT,
    StreamType.STDERR: Channel.STDERR,
    StreamType.ERROR: Channel.ERROR,
    StreamType.RESIZE: Channel.RESIZE,
}


async def serve(client: Client, handshake: Handshake, tokens: TokenTable, opener: Opener) -> None:
    """Serve one client, from its request to the end of its connection."""
    try:
        async with asyncio.timeout(client.limits.head_timeout):
            upgrade = await handshake.upgrade()
        request = _redeem(tokens, upgrade.path)
        await _serve_request(client, handshake, upgrade, request, opener)
    except Refused as refusal:
        handshake.refuse(refusal)
        await client.connection.finish()
    except TimeoutError:
        # No reply: it never said what it wants, and a slow sender of headers gets no more time.
        client.connection.abort()


def _redeem(tokens: TokenTable, path: str) -> StreamRequest:
    """The request behind `/kind/token`; a token is spent by its first use, right or wrong.

    One text for every failure: a guesser learns nothing about which tokens there were.
    """
    match path.split("/"):
        case ["", kind, token] if kind in KINDS:
            request = tokens.take(token)
            if isinstance(request, KINDS[kind]):
                return request
    raise Refused(404, "this URL was used, is older than a minute, or never was: ask for another")


async def _serve_request(
    client: Client, handshake: Handshake, upgrade: Upgrade, request: StreamRequest, opener: Opener
) -> None:
    match request:
        case PortForwardRequest():
            await _serve_forwarding(client, handshake, upgrade, request, opener)
        case ExecRequest() | AttachRequest():
            await _serve_command(client, handshake, upgrade, request, opener)


# Exec and attach


async def _serve_command(
    client: Client,
    handshake: Handshake,
    upgrade: Upgrade,
    request: ExecRequest | AttachRequest,
    opener: Opener,
) -> None:
    known = SPDY_PROTOCOLS if upgrade.wire is Wire.SPDY else WEBSOCKET_PROTOCOLS
    protocol = choose_protocol(upgrade.protocols, known)
    if protocol is None:
        raise _no_protocol(upgrade, [each.name for each in known])
    endpoint: SpdyEndpoint | WebSocketEndpoint
    match upgrade.wire:
        case Wire.SPDY:
            endpoint, streams = await _begin_spdy(
                client, handshake, upgrade, request.wanted, protocol
            )
        case Wire.WEBSOCKET:
            endpoint, streams = _begin_websocket(
                client, handshake, upgrade, request.wanted, protocol
            )
    if streams is not None:
        outcome = await _run(client, streams, request, opener)
        await report(streams, outcome, protocol)
    await endpoint.finish()


async def _run(
    client: Client, streams: Streams, request: ExecRequest | AttachRequest, opener: Opener
) -> Outcome:
    # A terminal has one output: what a program writes to stderr comes on stdout with the rest.
    asked = request.wanted
    wanted = replace(asked, stderr=asked.stderr and not asked.tty)
    match request:
        case ExecRequest(container_id, command):
            return await run_exec(client, streams, opener.exec(container_id, command, wanted))
        case AttachRequest(container_id):
            return await run_attach(client, streams, opener.attach(container_id, wanted))


async def _begin_spdy(
    client: Client,
    handshake: Handshake,
    upgrade: Upgrade,
    wanted: Wanted,
    protocol: CommandProtocol,
) -> tuple[SpdyEndpoint, Streams | None]:
    """Wait for the client to open its streams; no streams if it does not in time."""
    awaited = _AwaitedStreams(wanted.streams(protocol))
    endpoint = SpdyEndpoint(client.connection, awaited.offered)
    _switch_protocol(client, handshake, upgrade, protocol.name, endpoint)
    try:
        async with asyncio.timeout(client.limits.creation_timeout):
            await awaited.complete.wait()
    except TimeoutError:
        return endpoint, None
    return endpoint, awaited.streams


class _AwaitedStreams:
    """Takes each of the five streams of a command once."""

    def __init__(self, awaited: frozenset[StreamType]) -> None:
        self._missing = set(awaited)
        self.streams: Streams = {}
        self.complete = asyncio.Event()

    def offered(self, stream: SpdyStream, headers: Headers) -> bool:
        try:
            kind = StreamType(dict(headers).get(b"streamtype", b"").decode("latin-1"))
        except ValueError:
            return False
        # kubectl opens exactly these; a second one of a kind, or one after the command began, would
        # have no descriptor to go to.
        if kind in self.streams or self.complete.is_set():
            return False
        self.streams[kind] = stream
        self._missing.discard(kind)
        if not self._missing:
            self.complete.set()
        return True


def _begin_websocket(
    client: Client,
    handshake: Handshake,
    upgrade: Upgrade,
    wanted: Wanted,
    protocol: CommandProtocol,
) -> tuple[WebSocketEndpoint, Streams]:
    endpoint = WebSocketEndpoint(client.connection, protocol.base64, protocol.closes_channels)
    kinds = wanted.streams(protocol)
    streams: Streams = {}
    for kind, channel in _CHANNELS.items():
        # All five channels exist, wanted or not: what a client sends on another is an error of the
        # protocol, on these it is only dropped.
        reads = kind in kinds and kind in (StreamType.STDIN, StreamType.RESIZE)
        stream: ClientStream = endpoint.channel(channel, reads)
        if kind in kinds:
            streams[kind] = stream
    # The streams exist before the endpoint sees the first byte: a client may send stdin in the same
    # packet as its request.
    _switch_protocol(client, handshake, upgrade, protocol.name, endpoint)
    outputs = (StreamType.STDOUT, StreamType.STDERR, StreamType.ERROR)
    # An empty message on the first output tells the client that the command's streams are there.
    next(streams[kind] for kind in outputs if kind in streams).send_now(b"")
    return endpoint, streams


# Port-forward


async def _serve_forwarding(
    client: Client,
    handshake: Handshake,
    upgrade: Upgrade,
    request: PortForwardRequest,
    opener: Opener,
) -> None:
    async def dial(port: int) -> socket.socket:
        return await opener.dial(request.sandbox_id, port)

    match upgrade.wire:
        case Wire.SPDY:
            await _forward_spdy(client, handshake, upgrade, dial)
        case Wire.WEBSOCKET:
            await _forward_websocket(client, handshake, upgrade, request.ports, dial)


async def _forward_spdy(client: Client, handshake: Handshake, upgrade: Upgrade, dial: Dial) -> None:
    """Until the client leaves: it may open connections at any time."""
    if port_forward.SPDY_PROTOCOL not in upgrade.protocols:
        raise _no_protocol(upgrade, [port_forward.SPDY_PROTOCOL])
    async with Tasks() as own:
        forwarding = SpdyForwarding(client, dial, own)
        _switch_protocol(
            client, handshake, upgrade, port_forward.SPDY_PROTOCOL, forwarding.endpoint
        )
        await client.connection.gone.wait()


async def _forward_tunnelled(
    client: Client, handshake: Handshake, upgrade: Upgrade, dial: Dial
) -> None:
    """As over SPDY, which comes inside a WebSocket."""
    async with Tasks() as own:
        tunnel = Tunnel(SpdyForwarding(client, dial, own).endpoint)
        _switch_protocol(client, handshake, upgrade, port_forward.TUNNEL_PROTOCOL, tunnel)
        await client.connection.gone.wait()


async def _forward_websocket(
    client: Client, handshake: Handshake, upgrade: Upgrade, ports: tuple[int, ...], dial: Dial
) -> None:
    """Until all ports of the request are done."""
    known = port_forward.WEBSOCKET_PROTOCOLS
    accepted = (*known, port_forward.TUNNEL_PROTOCOL)
    name = next((each for each in upgrade.protocols if each in accepted), "")
    if upgrade.protocols and not name:
        raise _no_protocol(upgrade, accepted)
    if name == port_forward.TUNNEL_PROTOCOL:
        await _forward_tunnelled(client, handshake, upgrade, dial)
        return
    endpoint = WebSocketEndpoint(client.connection, known.get(name, False), closes=False)
    channels = [
        (
            port,
            endpoint.channel(2 * number, reads=True),
            endpoint.channel(2 * number + 1, reads=False),
        )
        for number, port in enumerate(ports)
    ]
    _switch_protocol(client, handshake, upgrade, name, endpoint)
    async with asyncio.TaskGroup() as group:
        for port, data, error in channels:
            for stream in (data, error):
                stream.send_now(port_forward.port_preamble(port))
            group.create_task(forward(client, data, error, port, dial))
    await endpoint.finish()


# Out of HTTP


def _switch_protocol(
    client: Client,
    handshake: Handshake,
    upgrade: Upgrade,
    protocol: str,
    endpoint: SpdyEndpoint | WebSocketEndpoint | Tunnel,
) -> None:
    """Reply 101; from here on the endpoint reads, first what came behind the request."""
    behind = handshake.accept(upgrade, protocol)
    endpoint.receive(memoryview(behind))
    client.connection.resume_reading("handshake")


def _no_protocol(upgrade: Upgrade, known: Iterable[str]) -> Refused:
    offered = ", ".join(upgrade.protocols) or "none"
    # As Kubernetes' own servers list what they would have taken (`httpstream.Handshake`).
    fields = [("X-Accepted-Stream-Protocol-Versions", name) for name in known]
    text = f"unable to negotiate protocol: client offers {offered}; accepted: {', '.join(known)}"
    return Refused(403, text, fields)
