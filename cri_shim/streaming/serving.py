"""One client from its HTTP request to its end: the way through this room."""

import asyncio
import socket
from collections.abc import Iterable

from berth.linux.tasks import Tasks
from cri_shim.streaming.commands import Desk, Lanes, report, run_attach, run_exec
from cri_shim.streaming.forwarding import Dial, SpdyForwarding, forward
from cri_shim.streaming.handshake import Handshake, Refused, Upgrade, Wire
from cri_shim.streaming.lanes import Lane
from cri_shim.streaming.sessions import (
    AttachRequest,
    ExecRequest,
    PortForwardRequest,
    Sessions,
    StreamRequest,
)
from cri_shim.streaming.spdy_endpoint import SpdyEndpoint, SpdyLane
from cri_shim.streaming.tokens import TokenTable
from cri_shim.streaming.tunnel import Tunnel
from cri_shim.streaming.websocket_endpoint import WebSocketEndpoint
from cri_shim.wire import port_forward
from cri_shim.wire.exit_status import Outcome
from cri_shim.wire.remote_command import (
    SPDY_PROTOCOLS,
    WEBSOCKET_PROTOCOLS,
    CommandProtocol,
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


async def serve(desk: Desk, handshake: Handshake, tokens: TokenTable, sessions: Sessions) -> None:
    """Serve one client, from its request to the end of its connection."""
    try:
        async with asyncio.timeout(desk.limits.head_timeout):
            upgrade = await handshake.upgrade()
        request = _redeem(tokens, upgrade.path)
        await _serve_request(desk, handshake, upgrade, request, sessions)
    except Refused as refusal:
        handshake.refuse(refusal)
        await desk.connection.finish()
    except TimeoutError:
        desk.connection.abort()


def _redeem(tokens: TokenTable, path: str) -> StreamRequest:
    """The request behind `/kind/token`; a token is spent by its first use, right or wrong."""
    match path.split("/"):
        case ["", kind, token] if kind in KINDS:
            request = tokens.take(token)
            if isinstance(request, KINDS[kind]):
                return request
    raise Refused(404, "this URL was used, is older than a minute, or never was: ask for another")


async def _serve_request(
    desk: Desk, handshake: Handshake, upgrade: Upgrade, request: StreamRequest, sessions: Sessions
) -> None:
    match request:
        case PortForwardRequest():
            await _serve_forwarding(desk, handshake, upgrade, request, sessions)
        case ExecRequest() | AttachRequest():
            await _serve_command(desk, handshake, upgrade, request, sessions)


# Exec and attach


async def _serve_command(
    desk: Desk,
    handshake: Handshake,
    upgrade: Upgrade,
    request: ExecRequest | AttachRequest,
    sessions: Sessions,
) -> None:
    known = SPDY_PROTOCOLS if upgrade.wire is Wire.SPDY else WEBSOCKET_PROTOCOLS
    protocol = choose_protocol(upgrade.protocols, known)
    if protocol is None:
        raise _no_protocol(upgrade, [each.name for each in known])
    endpoint: SpdyEndpoint | WebSocketEndpoint
    match upgrade.wire:
        case Wire.SPDY:
            endpoint, lanes = await _begin_spdy(desk, handshake, upgrade, request.wanted, protocol)
        case Wire.WEBSOCKET:
            endpoint, lanes = _begin_websocket(desk, handshake, upgrade, request.wanted, protocol)
    if lanes is not None:
        outcome = await _run(desk, lanes, request, sessions)
        await report(lanes, outcome, protocol)
    await endpoint.finish()


async def _run(
    desk: Desk, lanes: Lanes, request: ExecRequest | AttachRequest, sessions: Sessions
) -> Outcome:
    wanted = request.wanted
    streams = (wanted.tty, wanted.stdin, wanted.stdout, wanted.stderr and not wanted.tty)
    match request:
        case ExecRequest(container_id, command):
            return await run_exec(desk, lanes, sessions.exec(container_id, command, *streams))
        case AttachRequest(container_id):
            return await run_attach(desk, lanes, sessions.attach(container_id, *streams))


async def _begin_spdy(
    desk: Desk, handshake: Handshake, upgrade: Upgrade, wanted: Wanted, protocol: CommandProtocol
) -> tuple[SpdyEndpoint, Lanes | None]:
    """Wait for the client to open its streams; no lanes if it does not in time."""
    gathering = _Gathering(wanted.streams(protocol))
    endpoint = SpdyEndpoint(desk.connection, gathering.offered)
    _go_over(desk, handshake, upgrade, protocol.name, endpoint)
    try:
        async with asyncio.timeout(desk.limits.creation_timeout):
            await gathering.complete.wait()
    except TimeoutError:
        return endpoint, None
    return endpoint, gathering.lanes


class _Gathering:
    """Takes each of the five streams of a command once."""

    def __init__(self, awaited: frozenset[StreamType]) -> None:
        self._missing = set(awaited)
        self.lanes: Lanes = {}
        self.complete = asyncio.Event()

    def offered(self, lane: SpdyLane, headers: Headers) -> bool:
        try:
            kind = StreamType(dict(headers).get(b"streamtype", b"").decode("latin-1"))
        except ValueError:
            return False
        if kind in self.lanes or self.complete.is_set():
            return False
        self.lanes[kind] = lane
        self._missing.discard(kind)
        if not self._missing:
            self.complete.set()
        return True


def _begin_websocket(
    desk: Desk, handshake: Handshake, upgrade: Upgrade, wanted: Wanted, protocol: CommandProtocol
) -> tuple[WebSocketEndpoint, Lanes]:
    endpoint = WebSocketEndpoint(desk.connection, protocol.base64, protocol.closes_channels)
    streams = wanted.streams(protocol)
    lanes: Lanes = {}
    for kind, channel in _CHANNELS.items():
        reads = kind in streams and kind in (StreamType.STDIN, StreamType.RESIZE)
        lane: Lane = endpoint.lane(channel, reads)
        if kind in streams:
            lanes[kind] = lane
    _go_over(desk, handshake, upgrade, protocol.name, endpoint)
    outputs = (StreamType.STDOUT, StreamType.STDERR, StreamType.ERROR)
    # An empty message on the first output tells the client that the command's streams are there.
    next(lanes[kind] for kind in outputs if kind in lanes).send_now(b"")
    return endpoint, lanes


# Port-forward


async def _serve_forwarding(
    desk: Desk,
    handshake: Handshake,
    upgrade: Upgrade,
    request: PortForwardRequest,
    sessions: Sessions,
) -> None:
    async def dial(port: int) -> socket.socket:
        return await sessions.dial(request.sandbox_id, port)

    match upgrade.wire:
        case Wire.SPDY:
            await _forward_spdy(desk, handshake, upgrade, dial)
        case Wire.WEBSOCKET:
            await _forward_websocket(desk, handshake, upgrade, request.ports, dial)


async def _forward_spdy(desk: Desk, handshake: Handshake, upgrade: Upgrade, dial: Dial) -> None:
    """Until the client leaves: it may open connections at any time."""
    if port_forward.SPDY_PROTOCOL not in upgrade.protocols:
        raise _no_protocol(upgrade, [port_forward.SPDY_PROTOCOL])
    async with Tasks() as own:
        forwarding = SpdyForwarding(desk, dial, own)
        _go_over(desk, handshake, upgrade, port_forward.SPDY_PROTOCOL, forwarding.endpoint)
        await desk.connection.gone.wait()


async def _forward_tunnelled(
    desk: Desk, handshake: Handshake, upgrade: Upgrade, dial: Dial
) -> None:
    """As over SPDY, which comes inside a WebSocket."""
    async with Tasks() as own:
        tunnel = Tunnel(SpdyForwarding(desk, dial, own).endpoint)
        _go_over(desk, handshake, upgrade, port_forward.TUNNEL_PROTOCOL, tunnel)
        await desk.connection.gone.wait()


async def _forward_websocket(
    desk: Desk, handshake: Handshake, upgrade: Upgrade, ports: tuple[int, ...], dial: Dial
) -> None:
    """Until all ports of the request are done."""
    known = port_forward.WEBSOCKET_PROTOCOLS
    accepted = (*known, port_forward.TUNNEL_PROTOCOL)
    name = next((each for each in upgrade.protocols if each in accepted), "")
    if upgrade.protocols and not name:
        raise _no_protocol(upgrade, accepted)
    if name == port_forward.TUNNEL_PROTOCOL:
        await _forward_tunnelled(desk, handshake, upgrade, dial)
        return
    endpoint = WebSocketEndpoint(desk.connection, known.get(name, False), closes=False)
    channels = [
        (port, endpoint.lane(2 * number, reads=True), endpoint.lane(2 * number + 1, reads=False))
        for number, port in enumerate(ports)
    ]
    _go_over(desk, handshake, upgrade, name, endpoint)
    async with asyncio.TaskGroup() as group:
        for port, data, error in channels:
            for lane in (data, error):
                lane.send_now(port_forward.port_preamble(port))
            group.create_task(forward(desk, data, error, port, dial))
    await endpoint.finish()


# Out of HTTP


def _go_over(
    desk: Desk,
    handshake: Handshake,
    upgrade: Upgrade,
    protocol: str,
    endpoint: SpdyEndpoint | WebSocketEndpoint | Tunnel,
) -> None:
    """Answer 101; from here on the endpoint reads, first what came behind the request."""
    behind = handshake.accept(upgrade, protocol)
    endpoint.receive(memoryview(behind))
    desk.connection.release("handshake")


def _no_protocol(upgrade: Upgrade, known: Iterable[str]) -> Refused:
    offered = ", ".join(upgrade.protocols) or "none"
    fields = [("X-Accepted-Stream-Protocol-Versions", name) for name in known]
    text = f"unable to negotiate protocol: client offers {offered}; accepted: {', '.join(known)}"
    return Refused(403, text, fields)
