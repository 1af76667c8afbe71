"""The syntax tree of an expression: frozen values whose `str` is the canonical text.

`parse(str(tree)) == tree` for every tree within the bounds; positions do not count in `==`.
"""

from dataclasses import dataclass, field
from enum import Enum

from nodeagent.allocator.requirement.tokens import written


class Comparison(Enum):
    """How two values compare; EQ and NE take any type, the others ints, strings and addresses."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


class Operation(Enum):
    """Integer arithmetic; division rounds down."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"


def position_field() -> int:
    """Where a node stands in its text; it does not count in `==`."""
    return field(default=0, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Int:
    """An integer literal, not negative; `8Gi` is read as its value."""

    value: int
    position: int = position_field()

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Bool:
    """`true` or `false`."""

    value: bool
    position: int = position_field()

    def __str__(self) -> str:
        return "true" if self.value else "false"


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal; also how addresses, networks and topology paths are written."""

    value: str
    position: int = position_field()

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'


@dataclass(frozen=True, slots=True)
class Name:
    """The value of an attribute."""

    name: str
    position: int = position_field()

    def __str__(self) -> str:
        return written(self.name)


@dataclass(frozen=True, slots=True)
class Defined:
    """Whether an attribute has a value that is not stale."""

    name: str
    position: int = position_field()

    def __str__(self) -> str:
        return f"defined({written(self.name)})"


@dataclass(frozen=True, slots=True)
class Not:
    """`!term`."""

    term: "Expression"
    position: int = position_field()

    def __str__(self) -> str:
        return "!" + _wrapped(self.term, _UNARY)


@dataclass(frozen=True, slots=True)
class Negative:
    """`-term`."""

    term: "Expression"
    position: int = position_field()

    def __str__(self) -> str:
        return "-" + _wrapped(self.term, _UNARY)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`left op right` of integers."""

    operation: Operation
    left: "Expression"
    right: "Expression"
    position: int = position_field()

    def __str__(self) -> str:
        level = _level(self)
        # Operators of one level group to the left; on the right the same level needs parentheses,
        # as in `a - (b - c)`.
        left, right = _wrapped(self.left, level), _wrapped(self.right, level + 1)
        return f"{left} {self.operation.value} {right}"


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`; comparisons do not chain."""

    comparison: Comparison
    left: "Expression"
    right: "Expression"
    position: int = position_field()

    def __str__(self) -> str:
        left, right = _wrapped(self.left, _SUM), _wrapped(self.right, _SUM)
        return f"{left} {self.comparison.value} {right}"


@dataclass(frozen=True, slots=True)
class Among:
    """`item in (a, b)`: equal to one of them, inside one network, or below one topology path."""

    item: "Expression"
    options: tuple["Expression", ...]
    position: int = position_field()

    def __str__(self) -> str:
        return f"{_wrapped(self.item, _SUM)} in ({', '.join(map(str, self.options))})"


@dataclass(frozen=True, slots=True)
class AllOf:
    """`a && b && …`, two terms or more."""

    terms: tuple["Expression", ...]
    position: int = position_field()

    def __str__(self) -> str:
        return " && ".join(_wrapped(term, _COMPARED) for term in self.terms)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`a || b || …`, two terms or more."""

    terms: tuple["Expression", ...]
    position: int = position_field()

    def __str__(self) -> str:
        return " || ".join(_wrapped(term, _ALL) for term in self.terms)


MAX_DEPTH = 32
"""Greatest height of an expression's tree."""

Expression = (
    Int
    | Bool
    | Text
    | Name
    | Defined
    | Not
    | Negative
    | Arithmetic
    | Compare
    | Among
    | AllOf
    | AnyOf
)

_ANY, _ALL, _COMPARED, _SUM, _PRODUCT, _UNARY, _PRIMARY = range(7)


def _level(node: Expression) -> int:
    """How tightly a node binds, loosest 0."""
    match node:
        case AnyOf():
            return _ANY
        case AllOf():
            return _ALL
        case Compare() | Among():
            return _COMPARED
        case Arithmetic(operation=Operation.ADD | Operation.SUBTRACT):
            return _SUM
        case Arithmetic():
            return _PRODUCT
        case Not() | Negative():
            return _UNARY
        case Int() | Bool() | Text() | Name() | Defined():
            return _PRIMARY


def children(node: Expression) -> tuple[Expression, ...]:
    """The direct parts of a node, left to right."""
    match node:
        case AnyOf(terms) | AllOf(terms):
            return terms
        case Compare(_, left, right) | Arithmetic(_, left, right):
            return (left, right)
        case Among(item, options):
            return (item, *options)
        case Not(term) | Negative(term):
            return (term,)
        case Int() | Bool() | Text() | Name() | Defined():
            return ()


def too_deep(root: Expression) -> Expression | None:
    """A node below MAX_DEPTH levels, None if there is none; takes no stack itself."""
    # `a + b + c + …` nests to the left without a parenthesis, so the reader's own bound on nesting
    # does not see it; a recursive check would be the first to overflow.
    pending = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            return node
        pending.extend((child, depth + 1) for child in children(node))
    return None


def _wrapped(node: Expression, least: int) -> str:
    return str(node) if _level(node) >= least else f"({node})"
