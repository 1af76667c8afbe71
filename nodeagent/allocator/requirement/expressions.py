"""Expressions of `select`: precedence climbing over a cursor, bounded in depth.

The bounds are checked while reading, before recursion goes deeper: a requirement comes from a pod's
annotation, and a RecursionError in the allocator would be its user's to cause.
"""

from nodeagent.allocator.requirement import syntax
from nodeagent.allocator.requirement.cursor import SUFFIXES, Cursor
from nodeagent.allocator.requirement.errors import RequirementError
from nodeagent.allocator.requirement.tokens import RESERVED, Kind

_LOOSEST, _ALL, _COMPARED, _SUM, _PRODUCT, _UNARY = range(6)
_LEVEL = {"||": _LOOSEST, "&&": _ALL, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT}
_COMPARISONS = {comparison.value: comparison for comparison in syntax.Comparison}
_VALUE = "an attribute, a number, a string, true, false, defined(…), '!', '-' or '('"
# An `in` list may stand inside a parenthesis of its own node, so text nests twice per tree level.
_MAX_NESTING = 2 * syntax.MAX_DEPTH


def expression(cursor: Cursor) -> syntax.Expression:
    """Read one expression up to the first token that cannot belong to it."""
    tree = _binary(cursor, _LOOSEST, 1)
    if (deep := syntax.too_deep(tree)) is not None:
        raise _deep(deep.position)
    return tree


def _deep(position: int) -> RequirementError:
    return RequirementError(
        "the expression nests too deeply", position, f"at most {syntax.MAX_DEPTH} levels"
    )


def _operator(cursor: Cursor) -> tuple[str, int] | None:
    """The operator that is next and its level."""
    if cursor.at_word("in"):
        return "in", _COMPARED
    if cursor.token.kind is not Kind.SIGN:
        return None
    sign = cursor.token.text
    level = _COMPARED if sign in _COMPARISONS else _LEVEL.get(sign)
    return None if level is None else (sign, level)


def _binary(cursor: Cursor, least: int, nesting: int) -> syntax.Expression:
    """Operands joined by operators that bind at least as tightly as `least`."""
    left = _unary(cursor, nesting)
    while (found := _operator(cursor)) is not None and found[1] >= least:
        sign, level = found
        if level == _COMPARED:
            left = _comparison(cursor, left, nesting)
            # `a < b < c` means something else in Python than in C, so it means nothing here.
            _refuse_chain(cursor)
        elif level in (_LOOSEST, _ALL):
            left = _logical(cursor, left, sign, level, nesting)
        else:
            at = cursor.take().position
            right = _binary(cursor, level + 1, nesting)
            left = syntax.Arithmetic(syntax.Operation(sign), left, right, position=at)
    return left


def _logical(
    cursor: Cursor, first: syntax.Expression, sign: str, level: int, nesting: int
) -> syntax.AllOf | syntax.AnyOf:
    at = cursor.token.position
    terms = [first]
    while cursor.accept(sign):
        terms.append(_binary(cursor, level + 1, nesting))
    kind = syntax.AllOf if sign == "&&" else syntax.AnyOf
    return kind(tuple(terms), position=at)


def _comparison(
    cursor: Cursor, left: syntax.Expression, nesting: int
) -> syntax.Compare | syntax.Among:
    token = cursor.take()
    if token.text == "in":
        return syntax.Among(left, _options(cursor, nesting), position=token.position)
    right = _binary(cursor, _SUM, nesting)
    return syntax.Compare(_COMPARISONS[token.text], left, right, position=token.position)


def _options(cursor: Cursor, nesting: int) -> tuple[syntax.Expression, ...]:
    """What follows `in`: a list in parentheses, or one value."""
    _bound(cursor, nesting)
    if not cursor.accept("("):
        return (_binary(cursor, _SUM, nesting + 1),)
    options = [_binary(cursor, _LOOSEST, nesting + 1)]
    while cursor.accept(","):
        options.append(_binary(cursor, _LOOSEST, nesting + 1))
    cursor.expect(")", "',' or ')'")
    return tuple(options)


def _refuse_chain(cursor: Cursor) -> None:
    found = _operator(cursor)
    if found is not None and found[1] >= _COMPARED:
        raise RequirementError(
            "comparisons do not chain", cursor.token.position, "'&&', '||' or parentheses"
        )


def _unary(cursor: Cursor, nesting: int) -> syntax.Expression:
    at = cursor.token.position
    for sign, kind in (("!", syntax.Not), ("-", syntax.Negative)):
        if cursor.at(sign):
            _bound(cursor, nesting)
            cursor.take()
            return kind(_unary(cursor, nesting + 1), position=at)
    if cursor.at("("):
        _bound(cursor, nesting)
        cursor.take()
        inner = _binary(cursor, _LOOSEST, nesting + 1)
        cursor.expect(")", "an operator or ')'")
        return inner
    return _primary(cursor)


def _bound(cursor: Cursor, nesting: int) -> None:
    if nesting > _MAX_NESTING:
        raise _deep(cursor.token.position)


def _primary(cursor: Cursor) -> syntax.Expression:
    token = cursor.token
    match token.kind:
        case Kind.NUMBER:
            value = cursor.number(SUFFIXES, "an integer, as in 3, 2k or 8Gi")
            return syntax.Int(value, position=token.position)
        case Kind.TEXT:
            return syntax.Text(cursor.take().text, position=token.position)
        case Kind.QUOTED_NAME:
            return syntax.Name(cursor.take().text, position=token.position)
        case Kind.NAME:
            return _word(cursor)
        case Kind.SIGN | Kind.END:
            return cursor.refuse(_VALUE)


def _word(cursor: Cursor) -> syntax.Expression:
    token = cursor.token
    if token.text in ("true", "false"):
        cursor.take()
        return syntax.Bool(token.text == "true", position=token.position)
    if token.text == "defined":
        cursor.take()
        return _defined(cursor, token.position)
    if token.text in RESERVED:
        cursor.refuse(f"{_VALUE}; a name spelled so is written `{token.text}`")
    return syntax.Name(cursor.take().text, position=token.position)


def _defined(cursor: Cursor, position: int) -> syntax.Defined:
    cursor.expect("(")
    token = cursor.token
    plain = token.kind is Kind.NAME and token.text not in RESERVED
    if not plain and token.kind is not Kind.QUOTED_NAME:
        cursor.refuse("the name of an attribute")
    cursor.take()
    cursor.expect(")")
    return syntax.Defined(token.text, position=position)
