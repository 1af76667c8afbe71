"""The operations an allocator accepts, and their documents for the journal.

Vectors are in base units. Every constructor refuses values of the wrong type or range with
OperationRefused, so that an operation that exists can be journaled and replayed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from berth.base.quantity import Vector, ordered

# Amounts travel as int64 in the agent's messages. The other bounds keep one operation from
# costing the writer, and everybody behind it, more than a moment: a surplus unit of an elastic
# allocation is a candidate of its own.
_MAX = 1 << 63
_MAX_TEXT = 512
_MAX_UNITS = 1_000_000
_MAX_ENTRIES = 10_000


class OperationRefused(ValueError):
    """An operation that names what does not exist or carries a value out of range.

    Nothing was changed. `field` names the field at fault.
    """

    def __init__(self, field_name: str, fault: str, accepted: str) -> None:
        super().__init__(f"{field_name}: {fault}; accepted: {accepted}")
        self.field = field_name
        self.fault = fault
        self.accepted = accepted


def _text(name: str, value: object, *, empty: bool = False) -> None:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not (value or empty):
        raise OperationRefused(name, "is no text", f"1 to {_MAX_TEXT} characters")


def _whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise OperationRefused(name, "is out of range", f"a whole number from {low} to {high}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise OperationRefused(name, "is no flag", "true or false")


def _plain_vector(value: object) -> bool:
    """Whether a vector is right at first sight; if not, `_vector` looks again to say why."""
    if not isinstance(value, dict):
        return False
    # By class and not isinstance: True is an int in Python, and no amount.
    for resource, amount in value.items():
        if resource.__class__ is not str or not 0 < len(resource) <= _MAX_TEXT:
            return False
        if amount.__class__ is not int or not 0 <= amount < _MAX:
            return False
    return True


def _vector(name: str, value: object, *, signed: bool = False) -> None:
    if _plain_vector(value):
        return
    if not isinstance(value, Mapping):
        raise OperationRefused(name, "is no vector", "whole base units by resource name")
    for resource, amount in value.items():
        _text(name, resource)
        if amount.__class__ is not int or not (-_MAX if signed else 0) <= amount < _MAX:
            accepted = "whole base units" if signed else "whole base units, not negative"
            raise OperationRefused(f"{name}.{resource}", "is out of range", accepted)


@dataclass(frozen=True, slots=True)
class Request:
    """Ask for `minimum` to `maximum` times `vector` for a leaf consumer.

    Idempotent by `id`. `firm`: non-preemptible, so admitted only in plan at every level. `retry`:
    the client asks again by itself; a grant made meanwhile is set aside until it comes back or
    the time for that runs out, and a request that is asked no more is given up (semantics 2.6).
    `group` empty: the first group of the plan that has the leaf. The consumer `system` is always
    admitted and lessens the capacity.
    """

    id: str
    consumer: str
    vector: Vector
    group: str = ""
    minimum: int = 1
    maximum: int = 1
    priority: int = 0
    namespace: str = ""
    firm: bool = False
    retry: bool = False

    def __post_init__(self) -> None:
        _text("id", self.id)
        _text("consumer", self.consumer)
        _text("group", self.group, empty=True)
        _text("namespace", self.namespace, empty=True)
        _vector("vector", self.vector)
        # Nearly every request asks for one unit; admission is counted in microseconds.
        if self.maximum != 1 or self.minimum != 1:
            _whole("minimum", self.minimum, 1, _MAX_UNITS)
            _whole("maximum", self.maximum, self.minimum, _MAX_UNITS)
        _whole("priority", self.priority, -(1 << 31), 1 << 31)
        _flag("firm", self.firm)
        _flag("retry", self.retry)


@dataclass(frozen=True, slots=True)
class Modify:
    """Change what an allocation asks for: to `vector`, or by the signed `delta`, per unit; and
    its unit counts where given. What shrinks is released at once, what grows is admitted.
    """

    id: str
    vector: Vector | None = None
    delta: Vector | None = None
    minimum: int | None = None
    maximum: int | None = None

    def __post_init__(self) -> None:
        _text("id", self.id)
        if self.vector is not None and self.delta is not None:
            raise OperationRefused("delta", "stands beside vector", "one of the two")
        if self.vector is not None:
            _vector("vector", self.vector)
        if self.delta is not None:
            _vector("delta", self.delta, signed=True)
        for name, count in (("minimum", self.minimum), ("maximum", self.maximum)):
            if count is not None:
                _whole(name, count, 1, _MAX_UNITS)


@dataclass(frozen=True, slots=True)
class Release:
    """Units that are really free again: all of an allocation, or the `vector` of it.

    `autoadjust` True lowers what the allocation asks for by as much; False keeps the demand, which
    waits to be served again (a squeezed or requeued allocation). `block` names a unit that is
    withheld from use from now on, of the size released.
    """

    id: str
    vector: Vector | None = None
    autoadjust: bool = True
    block: str = ""

    def __post_init__(self) -> None:
        _text("id", self.id)
        _text("block", self.block, empty=True)
        _flag("autoadjust", self.autoadjust)
        if self.vector is not None:
            _vector("vector", self.vector)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Withdraw what an allocation still asks for; what it holds it keeps."""

    id: str

    def __post_init__(self) -> None:
        _text("id", self.id)


@dataclass(frozen=True, slots=True)
class Offer:
    """A borrower's response to a notice: allocations, or parts, that it gives back instead.

    `entries` are (allocation id, vector or None for all of it).
    """

    notice: str
    entries: tuple[tuple[str, Vector | None], ...]

    def __post_init__(self) -> None:
        _text("notice", self.notice)
        if len(self.entries) > _MAX_ENTRIES:
            raise OperationRefused("entries", "are too many", f"at most {_MAX_ENTRIES}")
        for identity, vector in self.entries:
            _text("entries.id", identity)
            if vector is not None:
                _vector("entries.vector", vector)


@dataclass(frozen=True, slots=True)
class Stopping:
    """An allocation under notice is being stopped; its reclaim can be cancelled no more."""

    id: str

    def __post_init__(self) -> None:
        _text("id", self.id)


@dataclass(frozen=True, slots=True)
class Block:
    """Withhold a unit of a group, such as a sick device, from use. Idempotent by unit."""

    unit: str
    vector: Vector
    group: str = ""

    def __post_init__(self) -> None:
        _text("unit", self.unit)
        _text("group", self.group, empty=True)
        _vector("vector", self.vector)


@dataclass(frozen=True, slots=True)
class Unblock:
    """Bring a withheld unit back into use."""

    unit: str
    group: str = ""

    def __post_init__(self) -> None:
        _text("unit", self.unit)
        _text("group", self.group, empty=True)


@dataclass(frozen=True, slots=True)
class SetCapacity:
    """Set what a group of the node has, before system pods and blocked units are taken off."""

    vector: Vector
    group: str = ""

    def __post_init__(self) -> None:
        _text("group", self.group, empty=True)
        _vector("vector", self.vector)


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """Put another plan document in force; a bad one raises DocumentRefused and changes nothing.

    `capacity` is what groups of the new plan have from then on, by name; a group that is not
    named keeps what it has, a new one has nothing.
    """

    # Mappings cannot be hashed, and a frozen dataclass hashes its fields.
    document: Mapping[str, Any] = field(hash=False)
    capacity: Mapping[str, Vector] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.capacity, Mapping):
            raise OperationRefused("capacity", "is no table", "vectors by group")
        for name, vector in self.capacity.items():
            _text("capacity", name)
            _vector(f"capacity.{name}", vector)


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing but the passing of time: deadlines, expiries and windows take effect."""


Operation = (
    Request
    | Modify
    | Release
    | Cancel
    | Offer
    | Stopping
    | Block
    | Unblock
    | SetCapacity
    | ApplyPlan
    | Tick
)

_KINDS: dict[str, type[Operation]] = {
    "request": Request,
    "modify": Modify,
    "release": Release,
    "cancel": Cancel,
    "offer": Offer,
    "stopping": Stopping,
    "block": Block,
    "unblock": Unblock,
    "capacity": SetCapacity,
    "plan": ApplyPlan,
    "tick": Tick,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def operation_document(operation: Operation) -> dict[str, Any]:
    """The operation as JSON-able data; `operation_from_document` reads it back equal."""
    document: dict[str, Any] = {"op": _NAMES[type(operation)]}
    for part in fields(operation):
        document[part.name] = _plain(getattr(operation, part.name), part.name)
    return document


def _plain(value: Any, name: str) -> Any:
    if name == "entries":
        return [[identity, None if row is None else ordered(row)] for identity, row in value]
    if name == "capacity":
        return {group: ordered(value[group]) for group in sorted(value)}
    if isinstance(value, Mapping) and name != "document":
        return {resource: value[resource] for resource in sorted(value)}
    return value


def operation_from_document(document: Mapping[str, Any]) -> Operation:
    """The operation that a document describes. Raises OperationRefused."""
    name = document.get("op")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise OperationRefused("op", "is unknown", ", ".join(_KINDS))
    rest = {name: value for name, value in document.items() if name != "op"}
    try:
        if "entries" in rest:
            rest["entries"] = tuple((identity, vector) for identity, vector in rest["entries"])
        return kind(**rest)
    except (TypeError, ValueError) as error:
        # It is a ValueError itself, and says more than one made of it would.
        if isinstance(error, OperationRefused):
            raise
        raise OperationRefused("op", str(error), "the fields of the operation") from error
