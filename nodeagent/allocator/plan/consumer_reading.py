"""Reading the consumer trees of a plan document, field by field, keeping every problem found."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from berth.base.duration import DurationError, parse_duration
from berth.base.quantity import EMPTY, QuantityError, Vector, parse_quantity
from nodeagent.allocator.plan.consumer import Circle, Consumer, Partners, Rebalance
from nodeagent.allocator.plan.problem import Findings, join

FIELDS = (
    *("name", "own", "share", "limit", "borrowLimit", "reserve", "lendTo", "borrowFrom", "rank"),
    *("grace", "lendoutGrace", "borrowMinRuntime", "rebalanceOnWindow", "rebalance"),
    *("namespaces", "consumers"),
)
DEPTH = 12
"""Levels a tree may have. Four are advised: people lose sight of who borrows from whom."""
MOST = 5_000
"""Consumers one window may have."""
MAX_SHARE = 1_000_000
MAX_RANK = 1_000

_LABEL = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_GLOB = re.compile(r"[a-z0-9*?]([a-z0-9*?-]{0,61}[a-z0-9*?])?")
_RESOURCE = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
)
Choice = TypeVar("Choice", bound=Enum)
LABEL_ACCEPTED = "a name of letters, digits and dashes, at most 63 characters"


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a child takes from its parent where it says nothing itself."""

    grace: int = 0
    lendout_grace: int | None = None
    borrow_min_runtime: int = 0
    rank: int = 1
    rebalance_on_window: bool = False
    namespaces: tuple[str, ...] | None = None
    lend_to: Partners = Circle.ANY
    borrow_from: Partners = Circle.ANY


@dataclass(slots=True)
class TreeReader:
    """Reads one window's consumers; remembers where each name stood."""

    findings: Findings
    paths: dict[str, str] = field(default_factory=dict)
    read: int = 0
    _open: set[int] = field(default_factory=set)

    def consumers(
        self, path: str, value: object, above: Inherited, depth: int = 1
    ) -> tuple[Consumer, ...]:
        """The consumers of a list, children included."""
        rows = self.findings.sequence(path, value, "a list of consumers")
        if rows is None:
            return ()
        if not rows:
            self.findings.add(path, "the list is empty", "at least one consumer")
        # Before going deeper: the reader is recursive, and a document may be.
        if depth > DEPTH:
            self.findings.add(path, "the tree is too deep", f"at most {DEPTH} levels")
            return ()
        found = []
        for number, row in enumerate(rows):
            self.read += 1
            if self.read > MOST:
                self.findings.add(path, "too many consumers", f"at most {MOST} in one window")
                break
            consumer = self._consumer(f"{path}[{number}]", row, above, depth)
            if consumer is not None:
                found.append(consumer)
        return tuple(found)

    def _consumer(self, path: str, value: object, above: Inherited, depth: int) -> Consumer | None:
        row = self.findings.mapping(path, value, "a consumer with at least a name")
        if row is None:
            return None
        # A YAML alias can point at a mapping it stands in; without this the reader never returns.
        if id(value) in self._open:
            self.findings.add(path, "contains itself", "a tree without cycles")
            return None
        self._open.add(id(value))
        try:
            self.findings.known_keys(path, row, FIELDS)
            return self._fields(path, row, above, depth)
        finally:
            self._open.discard(id(value))

    def _fields(
        self, path: str, row: Mapping[str, Any], above: Inherited, depth: int
    ) -> Consumer | None:
        name = self._name(path, row)
        inherited = self._inherited(path, row, above)
        children: tuple[Consumer, ...] = ()
        if "consumers" in row:
            children = self.consumers(
                join(path, "consumers"), row["consumers"], inherited, depth + 1
            )
        if name is None:
            return None
        return Consumer(
            name=name,
            own=self._own(path, row, children),
            share=self._whole(path, row, "share", 1, 0, MAX_SHARE),
            limit=self.vector(path, row, "limit"),
            borrow_limit=self.vector(path, row, "borrowLimit"),
            reserve=self.vector(path, row, "reserve"),
            lend_to=inherited.lend_to,
            borrow_from=inherited.borrow_from,
            rank=inherited.rank,
            grace=inherited.grace,
            lendout_grace=inherited.lendout_grace,
            borrow_min_runtime=inherited.borrow_min_runtime,
            rebalance_on_window=inherited.rebalance_on_window,
            rebalance=self._rebalance(path, row),
            namespaces=inherited.namespaces,
            children=children,
        )

    def _inherited(self, path: str, row: Mapping[str, Any], above: Inherited) -> Inherited:
        return Inherited(
            grace=self._duration(path, row, "grace", above.grace) or 0,
            lendout_grace=self._duration(path, row, "lendoutGrace", above.lendout_grace),
            borrow_min_runtime=self._duration(
                path, row, "borrowMinRuntime", above.borrow_min_runtime
            )
            or 0,
            rank=self._whole(path, row, "rank", above.rank, 1, MAX_RANK),
            rebalance_on_window=(
                self.findings.boolean(join(path, "rebalanceOnWindow"), row["rebalanceOnWindow"])
                if "rebalanceOnWindow" in row
                else above.rebalance_on_window
            ),
            namespaces=self._namespaces(path, row, above.namespaces),
            lend_to=self._partners(path, row, "lendTo", above.lend_to),
            borrow_from=self._partners(path, row, "borrowFrom", above.borrow_from),
        )

    def _name(self, path: str, row: Mapping[str, Any]) -> str | None:
        name, place = row.get("name"), join(path, "name")
        if not isinstance(name, str) or not _LABEL.fullmatch(name):
            self.findings.found(place, name, LABEL_ACCEPTED)
            return None
        if name in self.paths:
            fault = f"{name!r} is already the name of {self.paths[name]}"
            self.findings.add(place, fault, "names that are unique in the tree")
            return None
        # Its pods are always admitted (semantics 2.1), so a leaf of that name is never reached.
        if name == "system":
            self.findings.add(place, "'system' is built in", "another name")
            return None
        # One name space for inner consumers and leaves: pods, lists and tables name them alike.
        self.paths[name] = path
        return name

    def vector(self, path: str, row: Mapping[str, Any], key: str) -> Vector:
        """The quantities by resource of one field; empty where it is absent or wrong."""
        if key not in row:
            return EMPTY
        place = join(path, key)
        amounts = self.findings.mapping(place, row[key], 'quantities such as {cpu: "4"}')
        return {} if amounts is None else read_vector(self.findings, place, amounts)

    def _own(self, path: str, row: Mapping[str, Any], children: tuple[Consumer, ...]) -> Vector:
        """What is written, and for resources not written the sum of what the children own."""
        total: dict[str, int] = {}
        for child in children:
            for resource, amount in child.own.items():
                total[resource] = total.get(resource, 0) + amount
        # Written amounts win, even smaller ones: check_tree then says that the children own more.
        return {**total, **self.vector(path, row, "own")}

    def _whole(
        self, path: str, row: Mapping[str, Any], key: str, default: int, low: int, high: int
    ) -> int:
        if key not in row:
            return default
        return self.findings.integer(join(path, key), row[key], low, high)

    def _duration(
        self, path: str, row: Mapping[str, Any], key: str, default: int | None
    ) -> int | None:
        if key not in row:
            return default
        try:
            return parse_duration(row[key])
        except DurationError as error:
            self.findings.found(join(path, key), row[key], str(error))
            return default

    def _rebalance(self, path: str, row: Mapping[str, Any]) -> Rebalance | None:
        if "rebalance" not in row:
            return None
        return read_choice(self.findings, join(path, "rebalance"), row["rebalance"], Rebalance)

    def _namespaces(
        self, path: str, row: Mapping[str, Any], default: tuple[str, ...] | None
    ) -> tuple[str, ...] | None:
        if "namespaces" not in row:
            return default
        place = join(path, "namespaces")
        rows = self.findings.sequence(place, row["namespaces"], 'a list such as [web, "ml-*"]')
        for number, glob in enumerate(rows or ()):
            if not isinstance(glob, str) or not _GLOB.fullmatch(glob):
                accepted = "a namespace, with * and ? as wildcards"
                self.findings.found(f"{place}[{number}]", glob, accepted)
        return tuple(glob for glob in rows or () if isinstance(glob, str))

    def _partners(self, path: str, row: Mapping[str, Any], key: str, default: Partners) -> Partners:
        value = row.get(key, default)
        if isinstance(value, Circle | frozenset):
            return value
        if value in ("any", "none"):
            return Circle(value)
        place, accepted = join(path, key), "any, none or a list of names of leaf consumers"
        names = self.findings.sequence(place, value, accepted)
        for number, name in enumerate(names or ()):
            if not isinstance(name, str):
                self.findings.found(f"{place}[{number}]", name, "the name of a leaf consumer")
        return frozenset(name for name in names or () if isinstance(name, str))


def read_vector(findings: Findings, place: str, amounts: Mapping[str, Any]) -> Vector:
    """Quantities by resource in base units; what is wrong is kept as a problem and left out."""
    vector = {}
    for resource, amount in amounts.items():
        if not isinstance(resource, str) or not _RESOURCE.fullmatch(resource):
            accepted = "a resource such as cpu, memory or nvidia.com/gpu"
            findings.add(join(place, str(resource)), "is not the name of a resource", accepted)
            continue
        try:
            vector[resource] = parse_quantity(resource, amount)
        except QuantityError as error:
            findings.found(join(place, resource), amount, error.accepted)
    return vector


def read_choice(
    findings: Findings, place: str, value: object, choices: type[Choice]
) -> Choice | None:
    """The member of a closed set that a text names; None and a problem if it names none."""
    for choice in choices:
        if isinstance(value, str) and choice.value == value:
            return choice
    findings.found(place, value, " or ".join(str(choice.value) for choice in choices))
    return None
