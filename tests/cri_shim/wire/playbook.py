"""Plays a written dialogue with the server's SPDY session or the tests' client, byte for byte.

A dialogue file has one step a line:

    role server | client
    > HEX        the peer sends these bytes
    = EVENT      the next event, as its Python form
    ! CALL       we call this method of the session
    < HEX        all bytes that are due to the peer now

Spaces in HEX part fields for the eye. Lines beginning with # are remarks.
"""

import ast
from collections import deque
from pathlib import Path

from cri_shim.wire import spdy_events
from cri_shim.wire.spdy_session import SpdySession
from tests.support import spdy_session as support
from tests.support.spdy_session import ClientSession, StreamReplied

EVENTS = {name: getattr(spdy_events, name) for name in dir(spdy_events) if name[0].isupper()}
EVENTS["StreamReplied"] = StreamReplied
ROLES = {"server": SpdySession, "client": ClientSession}

Session = SpdySession | ClientSession


def play(script: Path, step: int = 0) -> None:
    """Run a dialogue; `step` cuts what the peer sends into pieces of so many bytes (0: whole)."""
    session: Session | None = None
    events: deque[object] = deque()
    for number, line in enumerate(script.read_text().splitlines(), 1):
        sign, _, rest = line.partition(" ")
        where = f"{script.name}:{number}"
        if not line or sign == "#":
            continue
        if sign == "role":
            session = ROLES[rest]()
            continue
        assert session is not None, where
        match sign:
            case ">":
                assert not events, f"{where}: events not named before: {events}"
                events.extend(receive(session, bytes.fromhex(rest), step))
            case "=":
                assert events, f"{where}: no event, expected {rest}"
                assert plain(events.popleft()) == plain(eval(rest, dict(EVENTS))), where
            case "!":
                call(session, rest)
            case "<":
                assert session.data_to_send().hex() == rest.replace(" ", ""), where
            case _:
                raise AssertionError(f"{where}: unknown sign {sign!r}")
    assert session is not None
    assert not events, f"{script.name}: events at the end: {events}"
    assert not session.data_to_send()


def receive(session: Session, data: bytes, step: int) -> list[object]:
    """Events of `data` given in pieces; neighbouring data events of one stream become one."""
    found: list[object] = []
    size = step or max(1, len(data))
    for at in range(0, len(data), size):
        for event in session.receive_data(data[at : at + size]):
            last = found[-1] if found else None
            if (
                isinstance(event, spdy_events.DataReceived)
                and isinstance(last, spdy_events.DataReceived)
                and last.stream_id == event.stream_id
                and not last.fin
            ):
                joined = memoryview(bytes(last.payload) + bytes(event.payload))
                found[-1] = spdy_events.DataReceived(event.stream_id, joined, event.fin)
            else:
                found.append(own(event))
    return found


def own(event: object) -> object:
    """The event with its payload copied, since a view lives only until the next bytes."""
    if isinstance(event, spdy_events.DataReceived):
        payload = memoryview(bytes(event.payload))
        return spdy_events.DataReceived(event.stream_id, payload, event.fin)
    return event


def plain(event: object) -> str:
    if isinstance(event, spdy_events.DataReceived):
        return f"DataReceived({event.stream_id}, {bytes(event.payload)!r}, {event.fin})"
    return repr(event)


def call(session: Session, text: str) -> None:
    name, _, arguments = text.partition(" ")
    values = [ast.literal_eval(part) for part in arguments.split()]
    if name == "send_data":
        support.send_data(session, *values)
    else:
        getattr(session, name)(*values)
