"""AND, OR, NOT, IS NULL, comparisons, IN and EXISTS with DuckDB's rules for NULL and NaN."""

from __future__ import annotations

from sqlglot import exp

from realtime.transpile.correlated import is_strict, outer_columns
from realtime.transpile.form import call, cast, column, form, quote
from realtime.transpile.lower import Lower, Rule, one_float, refused, rule, type_of
from realtime.transpile.origins import cte_of
from realtime.transpile.passes.expand_in import is_filter
from realtime.transpile.rules import intervals
from realtime.transpile.rules.casts import constant
from realtime.transpile.rules.order import UNORDERED
from realtime.transpile.scopes import outputs
from realtime.transpile.types import DOUBLE, NESTED, TIMESTAMP, DuckType, Kind, duck_type

_NULL_BOOLEAN = "Nullable(UInt8)"
_TIMES = (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ)
_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)


def _and(lower: Lower, node: exp.And) -> exp.Expr:
    return exp.And(this=_operand(lower, node.left), expression=_operand(lower, node.right))


def _or(lower: Lower, node: exp.Or) -> exp.Expr:
    return exp.paren(exp.Or(this=_operand(lower, node.left), expression=_operand(lower, node.right)))


def _operand(lower: Lower, node: exp.Expr) -> exp.Expr:
    lowered = lower.condition(node)
    return exp.paren(lowered) if isinstance(lowered, exp.Or) else lowered


def _not(lower: Lower, node: exp.Not) -> exp.Expr:
    inner = node.this.unnest()
    if isinstance(inner, exp.In) and inner.args.get("query") is not None:
        return _in_query(lower, inner, negated=True, place=node)
    if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
        return call("isNotNull", _null_tested(lower, inner))
    return form("NOT (x)", x=lower.condition(node.this))


def _is(lower: Lower, node: exp.Is) -> exp.Expr:
    if isinstance(node.expression, exp.Null):
        return call("isNull", _null_tested(lower, node))
    if isinstance(node.expression, exp.Boolean):
        wanted = exp.Boolean(this=bool(node.expression.this))
        other = exp.Boolean(this=not node.expression.this)
        return form("ifNull(x, other) = wanted", x=lower.condition(node.this), other=other, wanted=wanted)
    raise refused(node, "this form of IS", remedy="compare with IS NULL, IS TRUE or IS FALSE")


def _null_tested(lower: Lower, node: exp.Is) -> exp.Expr:
    if type_of(node.this).kind in NESTED:
        raise refused(node, f"ClickHouse has no NULL of type {type_of(node.this)}", remedy="test a field or the length")
    return lower(node.this)


_OPERATORS: dict[type[exp.Expr], str] = {
    exp.EQ: "l = r", exp.NEQ: "l != r", exp.LT: "l < r", exp.LTE: "l <= r", exp.GT: "l > r", exp.GTE: "l >= r",
}  # fmt: skip
# NaN equals NaN and is above every number; `ln`, `rn` say whether a side is NaN, and are NULL where it is.
_WITH_NAN: dict[type[exp.Expr], str] = {
    exp.EQ: "(l = r OR (ln AND rn))",
    exp.NEQ: "(l != r AND NOT (ln AND rn))",
    exp.GT: "(l > r OR (ln AND NOT rn))",
    exp.LT: "(l < r OR (rn AND NOT ln))",
    exp.GTE: "(l >= r OR (ln AND rn >= 0))",
    exp.LTE: "(l <= r OR (rn AND ln >= 0))",
}


def _compare(lower: Lower, node: exp.Binary) -> exp.Expr:
    left, right = node.left, node.right
    for side, other in ((left, right), (right, left)):
        if isinstance(side, exp.Any) and isinstance(node, exp.EQ):
            return _among(lower, node, other, side.this.unnest())
        if isinstance(side, (exp.Any, exp.All, exp.Tuple)):
            raise refused(node, f"comparison with {side.key}", remedy="write IN (…) or compare column by column")
    kinds = {type_of(left).kind, type_of(right).kind}
    if Kind.NULL in kinds:
        return cast(exp.null(), _NULL_BOOLEAN)
    if kinds == {Kind.INTERVAL}:
        return form(_OPERATORS[type(node)], l=intervals.length(lower, left), r=intervals.length(lower, right))
    # Beside another text than a constant an ENUM is a text.
    texts = kinds == {Kind.TEXT, Kind.ENUM} and not isinstance(left, exp.Literal) and not isinstance(right, exp.Literal)
    if not isinstance(node, (exp.EQ, exp.NEQ)) and kinds & set(UNORDERED) and not texts:
        raise refused(node, f"{type_of(left)} is ordered otherwise in ClickHouse", remedy="compare a cast or a field")
    lowered = compared(lower, left, right)
    if Kind.FLOAT in kinds:
        return _compare_floats(type(node), left, right, *lowered)
    return form(_OPERATORS[type(node)], l=lowered[0], r=lowered[1])


# Equal where DuckDB takes floats for equal: it has one NaN and one zero.
_BITS = "reinterpretAsUInt64(if(isNaN(x), nan, toFloat64(x) + 0.))"


def _compare_floats(operator: type[exp.Expr], left: exp.Expr, right: exp.Expr, a: exp.Expr, b: exp.Expr) -> exp.Expr:
    if isinstance(left, exp.Literal) or isinstance(right, exp.Literal):
        plain = form(_OPERATORS[operator], l=a, r=b)
        greater = (exp.GT, exp.GTE) if isinstance(right, exp.Literal) else (exp.LT, exp.LTE)
        if operator not in greater:
            return plain
        return form("(c OR isNaN(x))", c=plain, x=a if isinstance(right, exp.Literal) else b)
    if operator is exp.EQ and isinstance(left.find_ancestor(exp.Join, exp.Query), exp.Join):
        # As keys of a join they are compared by their bytes.
        return exp.EQ(this=form(_BITS, x=a), expression=form(_BITS, x=b))
    return form(_WITH_NAN[operator], l=a, r=b, ln=call("isNaN", a), rn=call("isNaN", b))


def compared(lower: Lower, left: exp.Expr, right: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Both sides in types that ClickHouse compares as DuckDB does."""
    a, b = type_of(left), type_of(right)
    if a.kind is b.kind:
        return _same_kind(lower, left, right, a, b)
    for literal, other, swapped in ((right, left, False), (left, right, True)):
        if isinstance(literal, exp.Literal) and literal.is_string and type_of(other).kind is not Kind.TEXT:
            pair = (lower(other), constant(lower, literal, type_of(other)))
            return (pair[1], pair[0]) if swapped else pair
    common = _common(a, b)
    if common is None:
        raise refused(left.parent or left, f"{a} compared with {b}", remedy="cast one side explicitly")
    if common == "as they are":
        return lower(left), lower(right)
    assert isinstance(common, DuckType)
    return lower.to(left, common), lower.to(right, common)


def _same_kind(lower: Lower, left: exp.Expr, right: exp.Expr, a: DuckType, b: DuckType) -> tuple[exp.Expr, exp.Expr]:
    if a.kind in (Kind.JSON, *NESTED, Kind.INTERVAL, Kind.OTHER, Kind.BLOB, Kind.TIME):
        raise refused(
            left.parent or left, f"{a} values are compared otherwise in ClickHouse", remedy="compare fields or casts"
        )
    if a.kind is Kind.BOOLEAN:
        return call("toUInt8", lower(left)), call("toUInt8", lower(right))
    if a.kind is Kind.INTEGER and a != b and not {a.name, b.name}.isdisjoint(_WITHOUT_WIDER):
        # As keys of a join they need a type that holds both.
        return call("toInt256", lower(left)), call("toInt256", lower(right))
    if a.kind is Kind.DECIMAL and a.scale != b.scale:
        return _decimals(lower, left, right, max(a.precision - a.scale, b.precision - b.scale), max(a.scale, b.scale))
    return lower(left), lower(right)


def _decimals(lower: Lower, left: exp.Expr, right: exp.Expr, whole: int, scale: int) -> tuple[exp.Expr, exp.Expr]:
    """Numbers of ``whole`` and ``scale`` digits as one decimal; what is longer than 38 digits fails, as in DuckDB."""
    common = duck_type(f"DECIMAL({min(whole + scale, 38)},{scale})")
    return lower.to(left, common), lower.to(right, common)


_WITHOUT_WIDER = ("UBIGINT", "UHUGEINT")


def _common(a: DuckType, b: DuckType) -> DuckType | str | None:
    kinds = {a.kind, b.kind}
    if kinds == {Kind.INTEGER, Kind.DECIMAL}:
        number, decimal = (a, b) if a.kind is Kind.INTEGER else (b, a)
        whole = max(number.digits, decimal.precision - decimal.scale)
        # Left to itself ClickHouse scales within the wider of both types, which may be too narrow.
        return duck_type(f"DECIMAL({min(whole + decimal.scale, 38)},{decimal.scale})")
    if kinds == {Kind.TEXT, Kind.ENUM}:
        return "as they are"
    if Kind.FLOAT in kinds and kinds <= set(_NUMBERS):
        return DOUBLE
    if kinds <= set(_TIMES):
        return TIMESTAMP
    return None


def _null_safe(lower: Lower, node: exp.Binary) -> exp.Expr:
    if Kind.NULL in (type_of(node.left).kind, type_of(node.right).kind):
        raise refused(node, "IS DISTINCT FROM NULL", remedy="write IS NULL or IS NOT NULL")
    left, right = compared(lower, node.left, node.right)
    if Kind.FLOAT in (type_of(node.left).kind, type_of(node.right).kind):
        left, right = (form(_BITS, x=side) for side in (left, right))
    same = exp.NullSafeEQ(this=call("toNullable", left), expression=call("toNullable", right))
    return exp.paren(same if isinstance(node, exp.NullSafeEQ) else exp.Not(this=exp.paren(same)))


def _in(lower: Lower, node: exp.In) -> exp.Expr:
    if node.args.get("query") is not None:
        return _in_query(lower, node, negated=False, place=node)
    if node.args.get("field") is not None:
        return _among(lower, node, node.this, node.args["field"].unnest())
    if isinstance(node.this, exp.Tuple):
        return _rows_in(lower, node)
    if _plain_list(node):
        return exp.In(this=lower(node.this), expressions=[lower(x) for x in node.expressions])
    equalities = []
    for item in node.expressions:
        equal = exp.EQ(this=node.this.copy(), expression=item.copy())
        equalities.append(_compare(lower, equal))
    return exp.paren(exp.or_(*equalities, copy=False))


def _among(lower: Lower, node: exp.Expr, value: exp.Expr, items: exp.Expr) -> exp.Expr:
    """``value = ANY(list)``: a list written out is IN, another is searched."""
    if isinstance(items, exp.Array):
        return _in(lower, exp.In(this=value.copy(), expressions=[x.copy() for x in items.expressions]))
    found, kind = type_of(items), type_of(value).kind
    if found.kind is not Kind.LIST or found.item.kind is not kind or kind not in (Kind.INTEGER, Kind.TEXT):
        raise refused(node, f"{type_of(value)} among {found}", remedy="search a list of whole numbers or text")
    template = "multiIf(empty(a), 0, isNull(x), NULL, has(a, x), 1, has(a, NULL), NULL, 0)"
    return form(template, a=lower(items), x=lower.to(value, found.item))


def _rows_in(lower: Lower, node: exp.In) -> exp.Expr:
    """``(a, b) IN ((1, 2), …)`` as OR of ANDs, in a filter: as a value DuckDB's rows know no NULL."""
    if not is_filter(node):
        raise refused(node, "IN with several columns as a value", remedy="use it in WHERE, or write OR of ANDs")
    either = []
    for row in node.expressions:
        if not isinstance(row, exp.Tuple) or any(type_of(x).kind is Kind.NULL for x in row.expressions):
            raise refused(node, "a row with NULL", remedy="write IS NULL for it")
        pairs = zip(node.this.expressions, row.expressions, strict=True)
        both = [_compare(lower, exp.EQ(this=a.copy(), expression=b.copy())) for a, b in pairs]
        either.append(exp.and_(*both, copy=False))
    return exp.paren(exp.or_(*either, copy=False))


def _plain_list(node: exp.In) -> bool:
    """Whether the list holds only literals of the very kind that is compared: then ClickHouse's IN is exact."""
    kind = type_of(node.this).kind
    wanted = {Kind.TEXT: True, Kind.INTEGER: False}.get(kind)
    literals = [x for x in node.expressions if isinstance(x, exp.Literal)]
    same = [x for x in literals if x.is_string == wanted and type_of(x).kind in (kind, Kind.TEXT)]
    return wanted is not None and len(same) == len(node.expressions)


def _in_query(lower: Lower, node: exp.In, *, negated: bool, place: exp.Expr) -> exp.Expr:
    """ClickHouse's IN knows no third value: in a filter NULL and false are the same, a value asks for what is NULL."""
    query = node.args["query"]
    query = query.this if isinstance(query, exp.Subquery) else query
    alias = lower.fresh("in")
    item = column(query.selects[0].alias_or_name, alias)
    item.meta["duck"] = _type_in(lower, query)
    x, y = compared(lower, node.this, item)
    if Kind.FLOAT in (type_of(node.this).kind, type_of(item).kind):
        x, y = one_float(x), one_float(y)
    rows = exp.Subquery(this=lower.query(query), alias=exp.TableAlias(this=quote(alias)))
    known = exp.select(y).from_(rows).where(call("isNotNull", item))
    found = exp.In(this=x, query=exp.Subquery(this=known))
    if is_filter(place) and not negated:
        return found
    everything = exp.select(call("count")).from_(rows.copy())
    nulls = everything.copy().where(call("isNull", item))
    template = (
        "(everything = 0 OR (isNotNull(x) AND nulls = 0 AND NOT (found)))"
        if is_filter(place)
        else "multiIf(everything = 0, no, isNull(x), NULL, found, yes, nulls > 0, NULL, no)"
    )
    return form(
        template, x=lower(node.this), found=found, everything=exp.Subquery(this=everything),
        nulls=exp.Subquery(this=nulls), no=exp.Boolean(this=negated), yes=exp.Boolean(this=not negated),
    )  # fmt: skip


def _type_in(lower: Lower, query: exp.Query) -> DuckType:
    """The type of the one column of ``query``."""
    found = outputs(query)
    return found[0][1] if found else type_of(query.selects[0].unalias())


def _exists(lower: Lower, node: exp.Exists) -> exp.Expr:
    query = node.this.unnest() if isinstance(node.this, exp.Subquery) else node.this
    assert isinstance(query, exp.Query)
    if outer_columns(query):
        _check_correlated(node, query)
    return exp.Exists(this=lower.query(query))


def _check_correlated(node: exp.Exists, query: exp.Query) -> None:
    """RefusedError for what was not made a join, and is wrong as ClickHouse's own correlated EXISTS."""
    if not is_strict(query):
        raise refused(
            node, "a correlated EXISTS of this form", remedy="write its condition as equalities, or join a CTE instead"
        )
    select = node.find_ancestor(exp.Select)
    where = select.args.get("where") if select is not None else None
    others = [e for e in where.find_all(exp.Exists) if outer_columns(e.this)] if where is not None else []
    if others and not any(e is node for e in others):
        # Code 48: the filter's join leaves no column for the value's (26.7).
        raise refused(node, "correlated EXISTS both as a value and in WHERE", remedy="filter in a CTE first")


def _subquery(lower: Lower, node: exp.Subquery) -> exp.Expr:
    query = node.this
    if type_of(node).kind in NESTED:
        raise refused(node, f"{type_of(node)} of no row is NULL, which ClickHouse has not", remedy="join its query")
    if not isinstance(query, exp.Select) or len(query.expressions) != 1:
        raise refused(node, "a scalar subquery of this form", remedy="select one column")
    if outer_columns(query):
        raise refused(node, "a correlated subquery of this form", remedy="join the grouped subquery instead")
    if not query.args.get("group") and not query.args.get("limit") and not _one_row(query):
        raise refused(node, "a scalar subquery that may give several rows", remedy="aggregate it, or add LIMIT 1")
    return exp.Subquery(this=lower.query(query))


def _one_row(query: exp.Query) -> bool:
    """Whether ``query`` gives one row at most: an aggregate without GROUP BY, or a plain select from one."""
    if not isinstance(query, exp.Select) or query.args.get("having") or query.args.get("group"):
        return False
    if any(isinstance(n, exp.AggFunc) for n in query.expressions[0].walk()):
        return True
    origin = query.args.get("from_")
    if origin is None or query.args.get("joins") or query.find(exp.Unnest):
        return False
    inner = origin.this.this if isinstance(origin.this, exp.Subquery) else cte_of(origin.this)
    return inner is not None and _one_row(inner)


RULES: dict[type[exp.Expr], Rule] = {
    exp.And: rule(_and),
    exp.Or: rule(_or),
    exp.Not: rule(_not),
    exp.Is: rule(_is),
    **{operator: rule(_compare) for operator in _OPERATORS},
    exp.NullSafeEQ: rule(_null_safe),
    exp.NullSafeNEQ: rule(_null_safe),
    exp.In: rule(_in, "query field"),
    exp.Exists: rule(_exists),
    exp.Subquery: rule(_subquery),
}
