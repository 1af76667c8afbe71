"""A claim: units on their way from borrowers to an allocation, and its notices (semantics 2.8)."""

from dataclasses import dataclass, field
from typing import Any

from berth.base.quantity import ordered, plus


@dataclass(slots=True)
class Notice:
    """One borrower's part of a claim: what it must give back, and by when.

    `cuts` are the parts of its allocations that end if it is silent, by allocation id;
    `candidates` are what it may offer instead. `deadline` is in milliseconds. `forced`: it has
    passed. `late`: so has the time in which a stop should have been done, and it was reported.
    """

    id: str
    claim: str
    group: str
    consumer: str
    deadline: int
    required: dict[str, int]
    cuts: dict[str, dict[str, int]]
    candidates: dict[str, dict[str, int]]
    forced: bool = False
    late: bool = False

    def to_document(self) -> dict[str, Any]:
        """The notice as JSON-able data."""
        return {
            "id": self.id,
            "claim": self.claim,
            "group": self.group,
            "consumer": self.consumer,
            "deadline": self.deadline,
            "required": ordered(self.required),
            "cuts": [[key, ordered(cut)] for key, cut in self.cuts.items()],
            "candidates": [[key, ordered(size)] for key, size in self.candidates.items()],
            "forced": self.forced,
            "late": self.late,
        }


def notice_from_document(document: dict[str, Any]) -> Notice:
    """The notice that `to_document` described."""
    pairs = {key: dict(document[key]) for key in ("cuts", "candidates")}
    return Notice(**{**document, **pairs})


# The life of a claim, and of its notices:
#
#    opened: vector into `projected`, cuts out of it; one notice for each borrower and deadline
#       │
#       │   a cut fits again ────────────► cancelled, the borrower keeps its units
#       │   the deadline comes ──────────► forced: what loses everything is being stopped
#       │   units come free ─────────────► the cut shrinks, they go to `earmark`
#       ▼
#    earmark = vector: granted; notices left over are cancelled where that is possible
#       │
#       ▼   or withdrawn at any time: by its client, a change of plan, a claim with a better right
#    abandoned, while notices are forced and not finished; closed with the last of them
#
# A claim and its notices are saved with the state. After kill -9 the units are on their way as
# before, with the same deadlines: they are points in time, not times that are left.


@dataclass(slots=True)
class Claim:
    """Units being taken back for an allocation, or, with none, because capacity shrank.

    `vector` is what the allocation gets; `earmark` the part of it already set aside. `short` are
    the resources that were short when the claim was made. The notices of a `pinned` claim are not
    cancelled when other units become free: it takes back on purpose what would fit
    (`reclaimFirst`, `rebalanceOnWindow`).
    """

    id: str
    group: str
    allocation: str
    vector: dict[str, int]
    short: tuple[str, ...]
    since: int
    pinned: bool = False
    earmark: dict[str, int] = field(default_factory=dict)
    notices: dict[str, Notice] = field(default_factory=dict)

    def abandon(self) -> None:
        """Be for nobody from now on; notices that cannot be cancelled any more go on under it."""
        self.allocation, self.vector, self.earmark, self.pinned = "", {}, {}, False

    def under_way(self) -> dict[str, int]:
        """What borrowers still have to give back for this claim."""
        total: dict[str, int] = {}
        for notice in self.notices.values():
            for cut in notice.cuts.values():
                total = plus(total, cut)
        return total

    def deadline(self) -> int | None:
        """When the last notice of the claim runs out; None without notices."""
        return max((notice.deadline for notice in self.notices.values()), default=None)

    def to_document(self) -> dict[str, Any]:
        """The claim as JSON-able data, its notices included."""
        return {
            "id": self.id,
            "group": self.group,
            "allocation": self.allocation,
            "vector": ordered(self.vector),
            "short": list(self.short),
            "since": self.since,
            "pinned": self.pinned,
            "earmark": ordered(self.earmark),
            "notices": [notice.to_document() for notice in self.notices.values()],
        }


def claim_from_document(document: dict[str, Any]) -> Claim:
    """The claim that `to_document` described."""
    notices = [notice_from_document(row) for row in document["notices"]]
    rest = {
        "short": tuple(document["short"]),
        "earmark": dict(document["earmark"]),
        "vector": dict(document["vector"]),
        "notices": {notice.id: notice for notice in notices},
    }
    return Claim(**{**document, **rest})
