"""What an allocator returns: events for everybody who watches, a verdict for the one who asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class EventType(Enum):
    """What happened. Fields of each event, besides `at` (milliseconds):

    GRANTED, PARTIAL: id, consumer, group, vector (newly held), held, missing, borrowed.
    PENDING, REFUSED: id, consumer, group, reason, shortage.
    RECLAIM_NOTICE: notice, claim, claimant, consumer (the borrower), group, required, deadline,
    strict ([{id, vector}], stopped if the borrower is silent), candidates (a superset).
    RECLAIM_CANCELLED: notice, consumer, group, ids. FORCED: notice, consumer, group, ids, strict.
    FREED: id, consumer, group, vector. OFFER_ACCEPTED, OFFER_REJECTED: notice, consumer, reason.
    EARMARKED: id, consumer, group, vector, until. EXPIRED: id, consumer, group, reason.
    RECLAIM_LATE: notice, consumer, group, ids. PLAN_CHANGED: group, window, reason.
    PLAN_UNBALANCED: group, consumers by resource. POLICY_FALLBACK: group, policy, call, reason.
    """

    GRANTED = "GRANTED"
    PARTIAL = "PARTIAL"
    PENDING = "PENDING"
    REFUSED = "REFUSED"
    EARMARKED = "EARMARKED"
    EXPIRED = "EXPIRED"
    RECLAIM_NOTICE = "RECLAIM_NOTICE"
    RECLAIM_CANCELLED = "RECLAIM_CANCELLED"
    OFFER_ACCEPTED = "OFFER_ACCEPTED"
    OFFER_REJECTED = "OFFER_REJECTED"
    FORCED = "FORCED"
    RECLAIM_LATE = "RECLAIM_LATE"
    FREED = "FREED"
    PLAN_CHANGED = "PLAN_CHANGED"
    PLAN_UNBALANCED = "PLAN_UNBALANCED"
    POLICY_FALLBACK = "POLICY_FALLBACK"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened at a time; `fields` are JSON-able and in a fixed order."""

    # Not one class for each kind: the history keeps events as documents, old ones included, and
    # gives them out as they are.
    type: EventType
    at: int
    fields: Mapping[str, Any]

    def to_document(self) -> dict[str, Any]:
        """The event as JSON-able data."""
        return {"type": self.type.value, "at": self.at, **self.fields}


class Answer(Enum):
    """What became of the request, modification or offer that was asked."""

    GRANTED = "GRANTED"
    PARTIAL = "PARTIAL"
    EARMARKED = "EARMARKED"
    RECLAIMING = "RECLAIMING"
    PENDING = "PENDING"
    REFUSED = "REFUSED"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the one who asked is told.

    `shortage` is what is missing now, by resource: neither held, nor set aside, nor free. An
    allocation that is being stopped is PENDING, with all it asks for. `deadline` is the time
    (milliseconds) by which a reclaim under way ends, None where none is known.
    """

    answer: Answer
    reason: str = ""
    shortage: Mapping[str, int] | None = None
    deadline: int | None = None

    def to_document(self) -> dict[str, Any]:
        """The verdict as JSON-able data."""
        return {
            "answer": self.answer.value,
            "reason": self.reason,
            "shortage": dict(self.shortage or {}),
            "deadline": self.deadline,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """All that followed from one operation; the same log gives the same decisions, byte by byte.

    `fallbacks` are the numbers of the policy calls of this operation that a plug-in failed; a
    replay passes them back in, because whether a plug-in was slow is no function of the log.
    """

    seq: int
    now: int
    verdict: Verdict
    events: tuple[Event, ...] = ()
    fallbacks: tuple[int, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """The decision as JSON-able data in canonical order."""
        return {
            "seq": self.seq,
            "now": self.now,
            "verdict": self.verdict.to_document(),
            "events": [event.to_document() for event in self.events],
            "fallbacks": list(self.fallbacks),
        }
