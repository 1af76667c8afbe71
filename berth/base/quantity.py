"""Kubernetes quantities as exact integers: milli for cpu, bytes for memory, counts else.

The forms are those of apimachinery's resource.Quantity: decimal and binary suffixes, exponents.
Integers, for with floats a sum of grants would differ from the capacity by rounding.
"""

import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

Vector = Mapping[str, int]
"""Amounts by resource name, in base units; a resource that is absent counts as 0."""

EMPTY: Vector = MappingProxyType({})

_FORM = re.compile(r"([+-]?)([0-9]{1,40})?(?:\.([0-9]{0,40}))?([eE][+-]?[0-9]{1,3}|[A-Za-z]{0,2})")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_MAX = 1 << 63


class Unit(Enum):
    """The base unit in which a resource is counted."""

    MILLI = "milli-cores"
    BYTES = "bytes"
    COUNT = "whole units"


class QuantityError(ValueError):
    """A text that is no quantity of this resource; `accepted` says what would be."""

    def __init__(self, found: object, accepted: str) -> None:
        super().__init__(f"{found!r} is not accepted; write {accepted}")
        self.found = found
        self.accepted = accepted


def unit_of(resource: str) -> Unit:
    """The base unit of a resource name, overlay resources like `berth.dev/borrow-cpu` included."""
    name = resource.removeprefix("berth.dev/borrow-")
    if name == "cpu":
        return Unit.MILLI
    if name in ("memory", "storage", "ephemeral-storage") or name.startswith("hugepages-"):
        return Unit.BYTES
    return Unit.COUNT


def _accepted(unit: Unit) -> str:
    match unit:
        case Unit.MILLI:
            return 'cores such as "4", "0.5" or "1500m"'
        case Unit.BYTES:
            return 'bytes such as "512Mi", "8Gi" or "1G"'
        case Unit.COUNT:
            return 'a whole number such as "2"'


def _fraction(text: str) -> tuple[int, int] | None:
    """Numerator and denominator of a quantity text, or None where it is none."""
    # The bounds on digits in the pattern are for hostile texts: 10**999999999 takes all memory.
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    sign, whole, part, suffix = match[1], match[2] or "", match[3] or "", match[4]
    if not whole and not part:
        return None
    above, below = int(whole + part), 10 ** len(part)
    if suffix in _BINARY:
        above <<= _BINARY[suffix]
    else:
        power = _DECIMAL[suffix] if suffix in _DECIMAL else _exponent(suffix)
        if power is None or abs(power) > 60:
            return None
        above, below = (above * 10**power, below) if power >= 0 else (above, below * 10**-power)
    return (-above if sign == "-" else above), below


def _exponent(suffix: str) -> int | None:
    # `E` alone is exa and was found in the table of suffixes; with digits it is an exponent.
    return int(suffix[1:]) if suffix[:1] in "eE" and len(suffix) > 1 else None


def parse_quantity(resource: str, value: object, *, round_up: bool = False) -> int:
    """Base units of a quantity of a resource.

    A value that is no whole number of base units is an error, or with `round_up` the next whole
    number, which is what Kubernetes does with a pod's requests. Raises QuantityError.
    """
    unit = unit_of(resource)
    # YAML reads 0.1 as a float; its shortest text is what was written.
    text = repr(value) if isinstance(value, float) else str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(text) > 90:
        raise QuantityError(value if len(text) <= 90 else text[:90] + "…", _accepted(unit))
    parts = _fraction(text.strip())
    if parts is None:
        raise QuantityError(value, _accepted(unit))
    above, below = parts[0] * (1000 if unit is Unit.MILLI else 1), parts[1]
    amount, rest = divmod(above, below)
    if amount < 0:
        raise QuantityError(value, f"{_accepted(unit)}, not negative")
    if amount >= _MAX:
        raise QuantityError(value, f"{_accepted(unit)}, less than 2^63 {unit.value}")
    if rest and not round_up:
        raise QuantityError(value, f"{_accepted(unit)}, without a fraction of {unit.value}")
    return amount + (1 if rest else 0)


def render_quantity(resource: str, amount: int) -> str:
    """The shortest Kubernetes quantity that parses back to `amount`."""
    match unit_of(resource):
        case Unit.MILLI:
            return str(amount // 1000) if amount % 1000 == 0 else f"{amount}m"
        case Unit.BYTES:
            # The largest unit first, of which the amount is a whole number; 0 has none.
            for suffix, power in reversed(_BINARY.items()):
                if amount and amount % (1 << power) == 0:
                    return f"{amount >> power}{suffix}"
            return str(amount)
        case Unit.COUNT:
            return str(amount)


def render_vector(vector: Vector) -> str:
    """Amounts for people, by name: `cpu 1500m, memory 512Mi, nvidia.com/gpu 1`."""
    return ", ".join(f"{name} {render_quantity(name, vector[name])}" for name in sorted(vector))


def plus(left: Vector, right: Vector) -> dict[str, int]:
    """The sum of two vectors, without zeros."""
    total = dict(left)
    for name, amount in right.items():
        total[name] = total.get(name, 0) + amount
    return {name: amount for name, amount in total.items() if amount}


def minus(left: Vector, right: Vector) -> dict[str, int]:
    """What `left` exceeds `right` by, per resource, never negative, without zeros."""
    return {
        name: amount - right.get(name, 0)
        for name, amount in left.items()
        if amount > right.get(name, 0)
    }


def times(vector: Vector, count: int) -> dict[str, int]:
    """A vector taken `count` times, without zeros."""
    return {name: amount * count for name, amount in vector.items() if amount * count}


def covers(left: Vector, right: Vector) -> bool:
    """Whether `left` is at least `right` in every resource."""
    return all(left.get(name, 0) >= amount for name, amount in right.items())


def ordered(vector: Vector) -> dict[str, int]:
    """The vector in canonical form: names sorted, no zeros; equal vectors print equal."""
    return {name: amount for name in sorted(vector) if (amount := vector[name])}
