"""berth.node.v1 messages to the allocator's operations, and its decisions to messages.

The allocator counts time in milliseconds, the protocol in nanoseconds.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from berth.pb import node_v1_pb2 as pb
from nodeagent.allocator.values.event import Answer, Decision, Verdict
from nodeagent.allocator.values.operation import (
    Block,
    Cancel,
    Modify,
    Offer,
    Release,
    Request,
    Unblock,
)
from nodeagent.ledger.history import Entry

MILLISECOND = 1_000_000
"""Nanoseconds of a millisecond."""

_ANSWERS = {
    Answer.GRANTED: pb.GRANTED,
    Answer.PARTIAL: pb.PARTIAL,
    Answer.EARMARKED: pb.EARMARKED,
    Answer.RECLAIMING: pb.RECLAIMING,
    Answer.PENDING: pb.PENDING,
    Answer.REFUSED: pb.REFUSED,
    Answer.DONE: pb.DONE,
}


def request(message: pb.AllocationRequest) -> Request:
    """Raises OperationRefused naming the field."""
    # proto3 has no difference between 0 and absent for plain numbers: 0 is the default, one unit.
    low = message.min or 1
    return Request(
        id=message.id,
        consumer=message.consumer,
        vector=dict(message.unit.amounts),
        group=message.group,
        minimum=low,
        maximum=message.max or low,
        priority=message.priority,
        firm=message.firm,
    )


def modify(message: pb.ModifyRequest) -> Modify:
    """Raises OperationRefused naming the field."""
    change = message.WhichOneof("change")
    return Modify(
        id=message.id,
        vector=dict(message.absolute.amounts) if change == "absolute" else None,
        delta=dict(message.delta.amounts) if change == "delta" else None,
        minimum=message.min or None,
        maximum=message.max or None,
    )


def release(message: pb.ReleaseRequest) -> Release:
    """Raises OperationRefused naming the field."""
    # Absent: all of it. An empty vector is something else: nothing of it.
    part = dict(message.amounts.amounts) if message.HasField("amounts") else None
    return Release(message.id, part, autoadjust=not message.keep_demand, block=message.block)


def cancel(message: pb.CancelRequest) -> Cancel:
    """Raises OperationRefused naming the field."""
    return Cancel(message.id)


def block(message: pb.BlockRequest) -> Block:
    """Raises OperationRefused naming the field."""
    return Block(message.unit, dict(message.amounts.amounts), message.group)


def unblock(message: pb.UnblockRequest) -> Unblock:
    """Raises OperationRefused naming the field."""
    return Unblock(message.unit, message.group)


def offer(message: pb.OfferRequest) -> Offer:
    """Raises OperationRefused naming the field."""
    return Offer(message.notice, tuple(_entry(entry) for entry in message.entries))


def _entry(entry: pb.OfferEntry) -> tuple[str, Mapping[str, int] | None]:
    return entry.id, dict(entry.amounts.amounts) if entry.HasField("amounts") else None


def decision(decided: Decision, events: Iterable[Entry]) -> pb.Decision:
    """The reply to the client, with the events as they were numbered."""
    verdict: Verdict = decided.verdict
    return pb.Decision(
        answer=_ANSWERS[verdict.answer],
        reason=verdict.reason,
        shortage=pb.Vector(amounts=dict(verdict.shortage or {})),
        deadline=nanoseconds(verdict.deadline),
        events=[event(entry) for entry in events],
    )


def event(entry: Entry) -> pb.Event:
    """An event for watchers. `details` has all its fields as JSON, those named apart included."""
    document: Mapping[str, Any] = entry.document
    return pb.Event(
        cursor=entry.cursor,
        at=nanoseconds(document["at"]),
        type=document["type"],
        group=document.get("group") or "",
        consumer=document.get("consumer") or "",
        allocation=document.get("id") or "",
        details=json.dumps(document, sort_keys=True, separators=(",", ":")),
    )


def nanoseconds(milliseconds: int | None) -> int:
    """A time of the allocator for the protocol; 0 where there is none."""
    return (milliseconds or 0) * MILLISECOND
