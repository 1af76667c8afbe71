"""A consumer of a plan: what it owns, shares, may borrow and lends, and its children."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from berth.base.quantity import Vector


class Mode(Enum):
    """How a resource group divides what nobody owns."""

    HYBRID = "hybrid"
    OWNERSHIP = "ownership"
    SHARE = "share"


class Rebalance(Enum):
    """Whether a claim may cut what a sibling holds above plan down to its ratio (semantics 2.4).

    STICKY: what is left above plan stays with its holder; a claim takes up to its own plan.
    ADJUST: the ratio always rules, so a claim may take more than its plan from earlier borrowers.
    """

    STICKY = "sticky"
    ADJUST = "adjust"


class Order(Enum):
    """Whether an owner uses free units first, or first takes back its own that are lent (2.6)."""

    BORROW_FIRST = "borrowFirst"
    RECLAIM_FIRST = "reclaimFirst"


class Cut(Enum):
    """How what is held above plan shrinks: towards the share ratio, or in proportion to itself."""

    WATERFILL = "waterfill"
    PRORATA = "prorata"


class Circle(Enum):
    """A lending circle that needs no list."""

    ANY = "any"
    NONE = "none"


Partners = Circle | frozenset[str]
"""With whom a leaf lends or borrows: everybody, nobody, or the leaves named."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """One node of the consumer tree (semantics 2.1). Only leaves hold allocations.

    Vectors are in base units. `limit` bounds usage, `borrow_limit` bounds usage above the plan,
    `reserve` is the part of `own` that is never lent. `rank` 1 is the highest. Times are in
    milliseconds; `lendout_grace` None accepts borrowers of any grace. `namespaces` None admits
    pods of every namespace. `rebalance` None takes the parent's.
    """

    name: str
    own: Vector = field(default_factory=dict)
    share: int = 1
    limit: Vector = field(default_factory=dict)
    borrow_limit: Vector = field(default_factory=dict)
    reserve: Vector = field(default_factory=dict)
    lend_to: Partners = Circle.ANY
    borrow_from: Partners = Circle.ANY
    rank: int = 1
    grace: int = 0
    lendout_grace: int | None = None
    borrow_min_runtime: int = 0
    rebalance_on_window: bool = False
    rebalance: Rebalance | None = None
    namespaces: tuple[str, ...] | None = None
    children: tuple["Consumer", ...] = ()


def walk(consumers: tuple[Consumer, ...]) -> Iterator[Consumer]:
    """Every consumer, parents before children, in the order of the document."""
    for consumer in consumers:
        yield consumer
        yield from walk(consumer.children)


def leaves(consumers: tuple[Consumer, ...]) -> Iterator[Consumer]:
    """The consumers that may hold allocations, in the order of the document."""
    return (consumer for consumer in walk(consumers) if not consumer.children)
