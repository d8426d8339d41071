"""Lists: literals, elements, searches, sorting and unnest.

ClickHouse has no NULL list. A list column or literal is never NULL there; what makes one of text
(``string_split``) is NULL where the text is, so it is taken only where its user can be told.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB

from realtime.transpile.form import call, cast, form
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.rules.order import UNORDERED
from realtime.transpile.rules.structs import field
from realtime.transpile.rules.text import constant_of, text_of, whole
from realtime.transpile.types import NESTED, DuckType, Kind


def _list(lower: Lower, node: exp.Expr) -> exp.Expr:
    found = type_of(node)
    if found.kind is not Kind.LIST:
        raise refused(node, f"{found} where a list is expected", remedy="see docs/sql.md")
    return lower(node)


def _literal(lower: Lower, node: exp.Array) -> exp.Expr:
    found = type_of(node)
    if any(isinstance(x, exp.Comprehension) for x in node.expressions):
        raise refused(node, "a list comprehension", remedy="write list_transform and list_filter")
    if not node.expressions or found.item.kind in (Kind.NULL, *NESTED):
        raise refused(node, f"a literal of type {found}", remedy="put typed values into the list")
    items = exp.Array(expressions=[lower.to(x, found.item) for x in node.expressions])
    return cast(items, found.clickhouse)


def _size(lower: Lower, node: exp.ArraySize) -> exp.Expr:
    return call("toInt64", call("length", _list(lower, node.this)))


_SOUGHT = (Kind.INTEGER, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP, Kind.BOOLEAN, Kind.DECIMAL)


def _item(lower: Lower, node: exp.Expr, sought: exp.Expr, found: DuckType) -> exp.Expr:
    """``sought`` as an element of a list of type ``found`` is compared."""
    if found.item.kind not in _SOUGHT:
        raise refused(node, f"searching {found}", remedy="search a list of numbers, text or dates")
    return lower.to(sought, found.item)


def _contains(lower: Lower, node: exp.ArrayContains) -> exp.Expr:
    found, sought = type_of(node.this), _item(lower, node, node.expression, type_of(node.this))
    if type_of(node.expression).kind is Kind.NULL or found.kind is not Kind.LIST:
        raise refused(node, "searching for NULL, or in what is no list", remedy="search for a value")
    return form("if(isNull(x), NULL, has(a, x))", a=_list(lower, node.this), x=sought)


def _position(lower: Lower, node: exp.Anonymous | exp.ArrayPosition) -> exp.Expr:
    items, sought = node.expressions if isinstance(node, exp.Anonymous) else (node.this, node.expression)
    x = _item(lower, node, sought, type_of(items))
    return form("toInt32(nullIf(indexOf(a, x), 0))", a=_list(lower, items), x=x)


def _element(lower: Lower, node: exp.Bracket) -> exp.Expr:
    """``xs[i]``; sqlglot stores the index counted from 0, unless it knows the type to be another than a list."""
    if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Slice):
        return _slice(lower, node, node.this, node.expressions[0].this, node.expressions[0].expression)
    if type_of(node.this).kind is Kind.STRUCT and len(node.expressions) == 1 and node.expressions[0].is_string:
        return field(lower, node, node.this, node.expressions[0].name)
    written = DuckDB().generator().bracket_offset_expressions(node)
    at = whole(written[0]) if len(written) == 1 else None
    if at is None and len(written) == 1 and isinstance(written[0], exp.Column):
        return _at_column(lower, node, node.expressions[0])
    if at is None:
        raise refused(node, "an index that is no constant", remedy="write a number, or a column that holds it")
    return _at(lower, node, node.this, at)


def _at_column(lower: Lower, node: exp.Bracket, place: exp.Expr) -> exp.Expr:
    """The element whose number is in a column: 0, and what is beyond the list, is NULL in both engines."""
    found, number = type_of(node.this), type_of(place)
    if found.kind is not Kind.LIST or found.item.kind in NESTED:
        raise refused(node, f"an element of {found} by a column", remedy="take it of a list of plain values")
    if number.kind is not Kind.INTEGER or number.name.endswith(("HUGEINT", "UBIGINT")):
        raise refused(node, f"an index that is {number}", remedy="cast it to BIGINT")
    return call("arrayElementOrNull", lower(node.this), cast(lower(place), "Nullable(Int64)"))


def _at(lower: Lower, node: exp.Expr, items: exp.Expr, number: int) -> exp.Expr:
    found = type_of(items)
    if found.kind is Kind.TEXT and number > 0:
        return call("substringUTF8", lower(items), number, 1)
    if found.kind is not Kind.LIST or number == 0:
        raise refused(node, f"element {number} of {found}", remedy="write substr(x, n, 1), or a list's element from 1")
    if found.item.kind in NESTED:
        raise refused(node, "an element that is a list or a struct may be NULL", remedy="unnest it")
    if isinstance(items.unnest(), exp.Split):
        return call("arrayElementOrNull", _parts(lower, items.unnest()), number)
    return call("arrayElementOrNull", lower(items), number)


def _slice(lower: Lower, node: exp.Expr, items: exp.Expr, first: exp.Expr | None, last: exp.Expr | None) -> exp.Expr:
    """``xs[a:b]`` with both ends counted from 1."""
    start = whole(first) if first is not None else 1
    end = whole(last) if last is not None else None
    if not start or start < 0 or (last is not None and (end is None or end < 0)) or node.args.get("step"):
        raise refused(node, "a slice whose ends are no constants from 1", remedy="write xs[1:3]")
    found = type_of(items)
    size = [] if end is None else [max(end - start + 1, 0)]
    if found.kind is Kind.TEXT:
        return call("substringUTF8", lower(items), start, *size)
    return call("arraySlice", _list(lower, items), start, *size)


def _sliced(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    if len(node.expressions) != 3:
        raise refused(node, "a slice with steps", remedy="write xs[1:3]")
    return _slice(lower, node, *node.expressions)


def _sliced_array(lower: Lower, node: exp.ArraySlice) -> exp.Expr:
    return _slice(lower, node, node.this, node.args["start"], node.args.get("end"))


def _concatenated(lower: Lower, node: exp.ArrayConcat) -> exp.Expr:
    found = type_of(node)
    return call("arrayConcat", *(_list_as(lower, x, found) for x in (node.this, *node.expressions)))


def _appended(lower: Lower, node: exp.ArrayAppend) -> exp.Expr:
    found = type_of(node)
    return call(
        "arrayPushBack",
        _list_as(lower, node.this, found),
        cast(lower.to(node.expression, found.item), found.item.clickhouse),
    )


def _prepended(lower: Lower, node: exp.ArrayPrepend) -> exp.Expr:
    found = type_of(node)
    return call(
        "arrayPushFront",
        _list_as(lower, node.this, found),
        cast(lower.to(node.expression, found.item), found.item.clickhouse),
    )


def _overlaps(lower: Lower, node: exp.ArrayOverlaps) -> exp.Expr:
    return call("hasAny", *_comparable(lower, node, node.this, node.expression))


def _has_all(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    return call("hasAll", *_comparable(lower, node, *node.expressions))


def _contains_all(lower: Lower, node: exp.ArrayContainsAll) -> exp.Expr:
    return call("hasAll", *_comparable(lower, node, node.this, node.expression))


def _comparable(lower: Lower, node: exp.Expr, left: exp.Expr, right: exp.Expr) -> list[exp.Expr]:
    """Both lists without their NULLs, which ClickHouse takes for empty text and 0 here (26.7)."""
    a, b = type_of(left), type_of(right)
    if a != b or a.kind is not Kind.LIST or a.item.kind not in _SOUGHT:
        raise refused(node, f"{a} and {b} in one search", remedy="search lists of one type, of numbers, text or dates")
    return [form("arrayFilter(_v -> isNotNull(_v), a)", a=_list(lower, x)) for x in (left, right)]


def _list_as(lower: Lower, node: exp.Expr, found: DuckType) -> exp.Expr:
    if type_of(node).kind is not Kind.LIST or isinstance(node.unnest(), exp.Split):
        raise refused(node, "joining what may be no list", remedy="join lists")
    return lower.to(node, found)


def _extract(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    number = whole(node.expressions[1])
    if number is None:
        raise refused(node, "an index that is no constant", remedy="write the number of one element")
    return _at(lower, node, node.expressions[0], number)


def _end(number: int) -> Callable[[Lower, exp.Anonymous], exp.Expr]:
    return lambda lower, node: _at(lower, node, node.expressions[0], number)


def _parts(lower: Lower, node: exp.Expr) -> exp.Expr:
    """The parts of a split text; of NULL none."""
    delimiter = constant_of(node.expression, "a delimiter")
    if not delimiter:
        raise refused(node, "splitting into letters", remedy="name a delimiter")
    template = """arrayMap(_part -> toNullable(_part),
        if(isNull(x), [], splitByString(delimiter, assumeNotNull(ifNull(x, '')))))"""
    return form(template, x=text_of(lower, node.this), delimiter=delimiter)


def _split(lower: Lower, node: exp.Split) -> exp.Expr:
    parent = node.parent
    if not isinstance(parent, (exp.Explode, exp.Unnest)):
        raise refused(
            node, "a split text is NULL where the text is, and ClickHouse has no NULL list", remedy="use split_part"
        )
    return _parts(lower, node)


def _sort(lower: Lower, node: exp.ArraySort) -> exp.Expr:
    found, distinct = type_of(node.this), node.this.unnest()
    ascending, nulls_first = node.args.get("asc"), node.args.get("nulls_first")
    down = isinstance(ascending, exp.Boolean) and not ascending.this
    if found.kind is not Kind.LIST or found.item.kind in (*UNORDERED, Kind.FLOAT):
        raise refused(node, f"sorting {found}", remedy="sort a list of numbers, text or dates")
    if isinstance(nulls_first, exp.Boolean) and nulls_first.this:
        raise refused(node, "NULLS FIRST in a list", remedy="sort NULLs last")
    if isinstance(distinct, exp.ArrayDistinct):  # the order of list_distinct alone depends on chance
        items = form("arrayDistinct(arrayFilter(_v -> isNotNull(_v), a))", a=_list(lower, distinct.this))
    else:
        items = _list(lower, node.this)
    if down:
        return form("arraySort(_v -> (isNull(_v)), arrayReverseSort(a))", a=items)
    return call("arraySort", items)


def _extreme(name: str) -> Callable[[Lower, exp.Func], exp.Expr]:
    def build(lower: Lower, node: exp.Func) -> exp.Expr:
        found = type_of(node.this)
        if found.kind is not Kind.LIST or found.item.kind not in (Kind.INTEGER, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP):
            raise refused(node, f"{name} of {found}", remedy="use a list of whole numbers, text or dates")
        return call("arrayReduce", name, _list(lower, node.this))

    return build


def _of_list(template: str) -> Callable[[Lower, exp.Anonymous], exp.Expr]:
    def build(lower: Lower, node: exp.Anonymous) -> exp.Expr:
        return form(template, a=_list(lower, node.expressions[0]))

    return build


def _joined(lower: Lower, node: exp.ArrayToString) -> exp.Expr:
    if type_of(node.this).item.kind is not Kind.TEXT:
        raise refused(node, "joining a list that is no text", remedy="cast it to VARCHAR[]")
    separator = constant_of(node.expression, "a separator")
    template = """if(notEmpty(a) AND arrayAll(_v -> isNull(_v), a), NULL,
        arrayStringConcat(arrayFilter(_v -> isNotNull(_v), a), separator))"""
    return form(template, a=_list(lower, node.this), separator=separator)


def _mapped(lower: Lower, node: exp.Transform) -> exp.Expr:
    return _with_lambda(lower, node, "arrayMap", lambda body: cast(body, type_of(node).item.clickhouse))


def _filtered(lower: Lower, node: exp.ArrayFilter) -> exp.Expr:
    return _with_lambda(lower, node, "arrayFilter", lambda body: call("ifNull", body, 0))


def _with_lambda(lower: Lower, node: exp.Func, function: str, finish: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    function_of = node.expression
    if not isinstance(function_of, exp.Lambda) or len(function_of.expressions) > 2:
        raise refused(
            node, "a lambda of several arguments", remedy="write a lambda of the element, or of it and its place"
        )
    body = finish(lower(function_of.this))
    names = [name.copy() for name in function_of.expressions]
    items = _list(lower, node.this)
    places = [form("CAST(arrayEnumerate(a), 'Array(Nullable(Int64))')", a=items.copy())] if len(names) > 1 else []
    return call(function, exp.Lambda(this=body, expressions=names), items, *places)


RULES: dict[type[exp.Expr], Rule] = {
    exp.Array: rule(_literal),
    exp.ArraySize: rule(_size),
    exp.ArrayContains: rule(_contains),
    exp.Bracket: rule(_element),
    exp.Split: rule(_split),
    exp.ArraySlice: rule(_sliced_array, "start end step"),
    exp.ArrayConcat: rule(_concatenated, "null_propagation"),
    exp.ArrayAppend: rule(_appended, "null_propagation"),
    exp.ArrayPrepend: rule(_prepended, "null_propagation"),
    exp.ArrayOverlaps: rule(_overlaps),
    exp.ArrayContainsAll: rule(_contains_all),
    exp.ArrayPosition: rule(_position),
    exp.ArraySort: rule(_sort, "asc nulls_first"),
    exp.ArrayMin: rule(_extreme("min")),
    exp.ArrayMax: rule(_extreme("max")),
    exp.ArrayToString: rule(_joined),
    exp.Transform: rule(_mapped),
    exp.ArrayFilter: rule(_filtered),
}
FUNCTIONS: dict[str, Rule] = {
    "list_extract": rule(_extract),
    "list_element": rule(_extract),
    "list_first": rule(_end(1)),
    "list_last": rule(_end(-1)),
    "list_has_all": rule(_has_all),
    "list_position": rule(_position),
    "list_slice": rule(_sliced),
    "list_count": rule(_of_list("toInt64(arrayCount(_v -> isNotNull(_v), a))")),
    "list_unique": rule(_of_list("toUInt64(length(arrayDistinct(arrayFilter(_v -> isNotNull(_v), a))))")),
    "list_reverse": rule(_of_list("reverse(a)")),
}
