"""Which units a requirement selects, and in which order it puts them (semantics 2.12).

An attribute that is missing or stale is *unknown*, not an error: one failed reading must not turn
every request that mentions the attribute into an error. Unknown spreads as in Kleene's logic
(`unknown || true` is true, `!unknown` is unknown), and a unit is selected only by true.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeVar

from nodeagent.allocator.requirement.attributes import (
    Address,
    Attributes,
    Topology,
    Value,
    known,
    type_name,
)
from nodeagent.allocator.requirement.errors import RequirementError
from nodeagent.allocator.requirement.sections import OrderKey, Requirement
from nodeagent.allocator.requirement.syntax import (
    AllOf,
    Among,
    AnyOf,
    Arithmetic,
    Bool,
    Compare,
    Comparison,
    Defined,
    Expression,
    Int,
    Name,
    Negative,
    Not,
    Operation,
    Text,
    children,
)

T = TypeVar("T")
Network = IPv4Network | IPv6Network


def selects(requirement: Requirement, attributes: Attributes) -> bool:
    """Whether a unit with these attributes may be used.

    Raises RequirementError where the expression does not fit the attributes' types.
    """
    if requirement.select is None:
        return True
    return _condition(requirement.select, attributes) is True


def ordered(
    keys: Sequence[OrderKey], units: Iterable[T], attributes: Callable[[T], Attributes]
) -> list[T]:
    """Units sorted by the keys, the first decides first; equal ones stay as they came.

    Units where a key is unknown come last under that key, whatever its direction.
    """
    result = list(units)
    # Sorted by the last key first: sorting is stable, so the first key decides in the end. A
    # descending sort keeps the order of equal ones too, which reversing would not.
    for key in reversed(keys):
        having = [unit for unit in result if known(attributes(unit), key.name) is not None]
        lacking = [unit for unit in result if known(attributes(unit), key.name) is None]

        def rank(unit: T, name: str = key.name) -> tuple[str, "_Sortable"]:
            return _rank(known(attributes(unit), name))

        having.sort(key=rank, reverse=key.descending)
        result = having + lacking
    return result


def names(requirement: Requirement) -> frozenset[str]:
    """Every attribute that the requirement speaks of."""
    found = {key.name for key in requirement.order}
    sections = (requirement.affinity, requirement.antiaffinity, requirement.same)
    found.update(key.name for key in sections if key is not None)
    pending = [requirement.select] if requirement.select is not None else []
    while pending:
        node = pending.pop()
        if isinstance(node, Name | Defined):
            found.add(node.name)
        pending.extend(children(node))
    return frozenset(found)


_Sortable = int | str | tuple[int, int] | tuple[str, ...]


def _rank(value: Value | None) -> tuple[str, _Sortable]:
    match value:
        case IPv4Address() | IPv6Address():
            return "ip", (value.version, int(value))
        case Topology():
            return "topology", value.path
        case None:
            return "", 0
        case _:
            return type_name(value), value


def _value(node: Expression, attributes: Attributes) -> Value | None:
    match node:
        case Int(value) | Bool(value) | Text(value):
            return value
        case Name(name):
            return known(attributes, name)
        case Defined(name):
            return known(attributes, name) is not None
        case Negative(term):
            number = _integer(term, attributes)
            return None if number is None else -number
        case Arithmetic():
            return _arithmetic(node, attributes)
        case Not() | Compare() | Among() | AllOf() | AnyOf():
            return _condition(node, attributes)


def _condition(node: Expression, attributes: Attributes) -> bool | None:
    match node:
        case Not(term):
            truth = _condition(term, attributes)
            return None if truth is None else not truth
        case AllOf(terms):
            return _kleene([_condition(term, attributes) for term in terms], decisive=False)
        case AnyOf(terms):
            return _kleene([_condition(term, attributes) for term in terms], decisive=True)
        case Compare():
            return _compare(node, attributes)
        case Among():
            return _among(node, attributes)
        case Int() | Bool() | Text() | Name() | Defined() | Negative() | Arithmetic():
            value = _value(node, attributes)
            if value is not None and not isinstance(value, bool):
                raise _mismatch(node, value, "a condition (bool)")
            return value


def _kleene(truths: list[bool | None], decisive: bool) -> bool | None:
    """Of && (decisive false) or || (decisive true)."""
    if decisive in truths:
        return decisive
    return None if None in truths else not decisive


def _integer(node: Expression, attributes: Attributes) -> int | None:
    value = _value(node, attributes)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise _mismatch(node, value, "an int")
    return value


def _arithmetic(node: Arithmetic, attributes: Attributes) -> int | None:
    left, right = _integer(node.left, attributes), _integer(node.right, attributes)
    if left is None or right is None:
        return None
    match node.operation:
        case Operation.ADD:
            return left + right
        case Operation.SUBTRACT:
            return left - right
        case Operation.MULTIPLY:
            return left * right
        case Operation.DIVIDE:
            # Unknown, not an error: whether a divisor is 0 depends on the unit.
            return left // right if right else None


def _compare(node: Compare, attributes: Attributes) -> bool | None:
    left, right = _value(node.left, attributes), _value(node.right, attributes)
    if left is None or right is None:
        return None
    left, right = _alike(node, left, right)
    match node.comparison:
        case Comparison.EQ:
            return left == right
        case Comparison.NE:
            return left != right
        case Comparison.LT | Comparison.LE | Comparison.GT | Comparison.GE:
            return _in_order(node, left, right)


def _in_order(node: Compare, left: Value, right: Value) -> bool:
    # Places have no order, and true is not more than false, though Python thinks so.
    if isinstance(left, bool | Topology):
        raise _mismatch(node.left, left, "an int, a string or an ip on both sides")
    low, high = _rank(left), _rank(right)
    match node.comparison:
        case Comparison.LT:
            return low < high
        case Comparison.LE:
            return low <= high
        case Comparison.GT:
            return low > high
        case _:
            return low >= high


def _alike(node: Compare, left: Value, right: Value) -> tuple[Value, Value]:
    """Both sides in one type: a string beside an ip or a topology is read as such."""
    left, right = _read_as(node.left, left, right), _read_as(node.right, right, left)
    if type_name(left) != type_name(right):
        raise _mismatch(node.right, right, f"a value of type {type_name(left)}")
    return left, right


def _read_as(node: Expression, value: Value, model: Value) -> Value:
    if not isinstance(value, str):
        return value
    match model:
        case IPv4Address() | IPv6Address():
            return _address(node, value)
        case Topology():
            return Topology.parse(value)
        case _:
            return value


def _among(node: Among, attributes: Attributes) -> bool | None:
    item = _value(node.item, attributes)
    options = [(option, _value(option, attributes)) for option in node.options]
    if item is None:
        return None
    found = [None if it is None else _holds(option, it, item) for option, it in options]
    return _kleene(found, decisive=True)


def _holds(node: Expression, option: Value, item: Value) -> bool:
    """Whether one option of `in` is, or contains, the item."""
    if isinstance(option, str) and isinstance(item, IPv4Address | IPv6Address):
        return item in _network(node, option)
    option = _read_as(node, option, item)
    if isinstance(option, Topology) and isinstance(item, Topology):
        return item.within(option)
    if type_name(option) != type_name(item):
        raise _mismatch(node, option, f"a value of type {type_name(item)}")
    return option == item


def _address(node: Expression, text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as cause:
        raise RequirementError(f"{text!r} is no address", node.position, "an ip") from cause


def _network(node: Expression, text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as cause:
        raise RequirementError(
            f"{text!r} is no network", node.position, "an ip or a network, as in 10.0.0.0/8"
        ) from cause


def _mismatch(node: Expression, value: Value, expected: str) -> RequirementError:
    return RequirementError(f"{node} is of type {type_name(value)}", node.position, expected)
