"""What means the same in every dialect that Duet reads and in DuckDB, or is written the same way for all.

Comparisons and what builds on them take operands of one family of types: where families mix, each engine has
implicit casts of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlglot import exp

from realtime.dialects import moments
from realtime.dialects.dialect import EXACT, NUMBERS, Build, Rule, Translation, cast, form, refusal, rule
from realtime.dialects.numbers import literal_count
from realtime.transpile.types import NESTED, Kind

_ISO = {
    Kind.DATE: re.compile(r"\d{4}-\d{2}-\d{2}"),
    Kind.TIMESTAMP: re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?"),
    Kind.TEXT: re.compile(r".*", re.DOTALL),
    Kind.UUID: re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}
"""Text literals that every engine takes for a value of the type."""


def is_iso(node: exp.Expr, kind: Kind) -> bool:
    """Whether ``node`` is a text literal that every engine takes for the same value of ``kind``: without a zone."""
    plain = isinstance(node, exp.Literal) and node.is_string
    return plain and kind in _ISO and _ISO[kind].fullmatch(node.name) is not None


def same_family(t: Translation, node: exp.Expr, operands: list[exp.Expr]) -> Kind:
    """The one family of ``operands``, literals and NULL aside; RefusedError where there are two."""
    kinds: dict[Kind, exp.Expr] = {}
    texts = [o for o in operands if isinstance(o.unnest(), exp.Literal) and o.unnest().is_string]
    for operand in operands:
        if operand not in texts and not isinstance(operand, exp.Null):
            kind = t.kind_of(operand)
            kinds[Kind.FLOAT if kind in NUMBERS else kind] = operand
    kinds.pop(Kind.NULL, None)
    if set(kinds) == {Kind.DATE, Kind.TIMESTAMP}:
        return Kind.TIMESTAMP
    if len(kinds) > 1:
        raise t.refused(node, f"{_shown(kinds)} are cast to one type, each engine in its way", "add an explicit CAST")
    found = next(iter(kinds), Kind.TEXT if texts else Kind.NULL)
    for text in texts:
        if found not in _ISO or not _ISO[found].fullmatch(text.unnest().name):
            raise t.refused(text, f"text where {found} is expected", "write a literal of that type, or a CAST")
    return found


def _shown(kinds: Iterable[Kind]) -> str:
    return " and ".join(sorted("number" if k is Kind.FLOAT else str(k) for k in kinds))


def ordered_family(t: Translation, node: exp.Expr, operands: list[exp.Expr]) -> Kind:
    """`same_family` of operands whose order matters; RefusedError where the dialect's differs from DuckDB's."""
    found = same_family(t, node, operands)
    if found is Kind.TEXT and not t.dialect.text_orders and not all(_bytewise(o) for o in operands):
        raise t.refused(
            node, "text is ordered by the database's collation, and by its bytes in DuckDB", 'add COLLATE "C"'
        )
    if found in (*NESTED, Kind.JSON, Kind.BLOB, Kind.INTERVAL):
        raise t.refused(node, f"the order of {found} is not the same everywhere", "compare their parts")
    return found


def _bytewise(node: exp.Expr) -> bool:
    """Whether it is text that the dialect orders by its bytes: it says so itself, or is a literal."""
    while isinstance(node, exp.Paren) and not node.meta.get("bytewise"):
        node = node.this
    return bool(node.meta.get("bytewise")) or (isinstance(node, exp.Literal) and node.is_string)


def _equality(t: Translation, node: exp.Binary) -> exp.Expr:
    same_family(t, node, [node.this, node.expression])
    return node


def _comparison(t: Translation, node: exp.Binary) -> exp.Expr:
    ordered_family(t, node, [node.this, node.expression])
    return node


def _between(t: Translation, node: exp.Between) -> exp.Expr:
    ordered_family(t, node, [node.this, node.args["low"], node.args["high"]])
    return node


def _in(t: Translation, node: exp.In) -> exp.Expr:
    query = node.args.get("query")
    found = [query.unnest().selects[0].unalias()] if query is not None else node.expressions
    same_family(t, node, [node.this, *found])
    return node


def _ordered(t: Translation, node: exp.Ordered) -> exp.Expr:
    """sqlglot's parser wrote the dialect's order of NULLs into the node; DuckDB puts them last unless told."""
    if not _final_order(node):
        ordered_family(t, node, [node.this])
    return node


def _final_order(node: exp.Ordered) -> bool:
    """Whether it is the order of a query's own rows, which decides nothing without LIMIT."""
    query = node.parent.parent if isinstance(node.parent, exp.Order) else None
    return isinstance(query, exp.Query) and query.args.get("limit") is None and query.args.get("distinct") is None


def _extreme(t: Translation, node: exp.Min | exp.Max) -> exp.Expr:
    ordered_family(t, node, [node.this])
    return node


def _case(t: Translation, node: exp.Case) -> exp.Expr:
    if node.this is not None:
        same_family(t, node, [node.this, *(w.this for w in node.args["ifs"])])
    results = [w.args["true"] for w in node.args["ifs"]]
    _one_result(t, node, [*results, *([node.args["default"]] if node.args.get("default") is not None else [])])
    return node


def _set_operation(t: Translation, node: exp.SetOperation) -> exp.Expr:
    """Columns of one family each: what two families become is each engine's own."""
    for left, right in zip(node.this.selects, node.expression.selects, strict=False):
        same_family(t, left, [left.unalias(), right.unalias()])
    return node


def either(t: Translation, node: exp.If) -> exp.Expr:
    """IF as a CASE; inside of CASE as it is."""
    if isinstance(node.parent, exp.Case):
        return node
    otherwise = node.args.get("false") or exp.null()
    _one_result(t, node, [node.args["true"], *([otherwise] if node.args.get("false") is not None else [])])
    return form("CASE WHEN c THEN a ELSE b END", c=node.this, a=node.args["true"], b=otherwise)


def _coalesce(t: Translation, node: exp.Coalesce) -> exp.Expr:
    _one_result(t, node, [node.this, *node.expressions])
    return exp.Coalesce(this=node.this.copy(), expressions=[e.copy() for e in node.expressions])


def _one_result(t: Translation, node: exp.Expr, results: list[exp.Expr]) -> None:
    same_family(t, node, results)


def _nullif(t: Translation, node: exp.Nullif) -> exp.Expr:
    same_family(t, node, [node.this, node.expression])
    return node


def _whole_numbers(t: Translation, node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Literal) and not node.is_string and not node.name.isdigit():
        return t_literal(t, node)
    return node


def t_literal(t: Translation, node: exp.Literal) -> exp.Expr:
    """A number with a point: a decimal in DuckDB as in SQL's standard; one with an exponent differs."""
    if "e" in node.name.lower():
        raise t.refused(node, "a literal with an exponent has another type in DuckDB", "write it as a CAST")
    return node


def _sign(t: Translation, node: exp.Neg) -> exp.Expr:
    if t.kind_of(node.this) not in NUMBERS:
        raise t.refused(node, "only numbers are negated", "add an explicit CAST")
    return node


def _length(t: Translation, node: exp.Length) -> exp.Expr:
    """Characters, that is code points, everywhere."""
    if t.kind_of(node.this) is not Kind.TEXT:
        raise t.refused(node, "the length of what is no text", "CAST it to text first")
    return exp.Length(this=node.this.copy())


def _substring(t: Translation, node: exp.Substring) -> exp.Expr:
    literal_count(t, node.args.get("start"), 1, "the start of a substring")
    if node.args.get("length") is not None:
        literal_count(t, node.args.get("length"), 0, "the length of a substring")
    _text(t, node.this)
    return exp.Substring(this=node.this, start=node.args["start"], length=node.args.get("length"))


def _end(t: Translation, node: exp.Left | exp.Right) -> exp.Expr:
    literal_count(t, node.expression, 0, "the length")
    _text(t, node.this)
    return type(node)(this=node.this.copy(), expression=node.expression.copy())


def _split_part(t: Translation, node: exp.SplitPart) -> exp.Expr:
    literal_count(t, node.args.get("part_index"), 1, "the part's number")
    delimiter = node.args["delimiter"]
    if not (isinstance(delimiter, exp.Literal) and delimiter.is_string and delimiter.name):
        raise t.refused(node, "an empty delimiter splits differently in DuckDB", "write the delimiter as a literal")
    _text(t, node.this)
    return exp.SplitPart(this=node.this, delimiter=delimiter, part_index=node.args["part_index"])


def _trim(t: Translation, node: exp.Trim) -> exp.Expr:
    """Blanks only, in each of them (BigQuery, which trims more, has a rule of its own)."""
    _text(t, node.this)
    return node


def _replace(t: Translation, node: exp.Replace) -> exp.Expr:
    sought = node.expression
    if not (isinstance(sought, exp.Literal) and sought.is_string and sought.name):
        raise t.refused(node, "replacing empty text differs", "write what is replaced as a literal")
    _text(t, node.this)
    return node


def _text(t: Translation, *nodes: exp.Expr) -> None:
    for node in nodes:
        if t.kind_of(node) not in (Kind.TEXT, Kind.NULL):
            raise t.refused(node, "a value that is no text is written as text here", "CAST it to text first")


def _pipes(t: Translation, node: exp.DPipe) -> exp.Expr:
    _text(t, node.this, node.expression)
    return exp.DPipe(this=node.this, expression=node.expression)


def strict_concat(t: Translation, node: exp.Concat) -> exp.Expr:
    """CONCAT that is NULL where an operand is: DuckDB's skips NULL, its ``||`` does not."""
    _text(t, *node.expressions)
    first, *others = node.expressions
    joined: exp.Expr = first.copy()
    for other in others:
        joined = exp.DPipe(this=joined, expression=other.copy())
    return exp.paren(joined, copy=False) if others else joined


def _position(t: Translation, node: exp.StrPosition) -> exp.Expr:
    sought = node.args["substr"]
    if not (isinstance(sought, exp.Literal) and sought.is_string and sought.name):
        raise t.refused(node, "where empty text stands differs", "write what is sought as a literal")
    _text(t, node.this)
    return form("strpos(x, y)", x=node.this, y=sought)


def _contains(t: Translation, node: exp.Contains) -> exp.Expr:
    _text(t, node.this, node.expression)
    return form("contains(x, y)", x=node.this, y=node.expression)


def _starts(t: Translation, node: exp.StartsWith) -> exp.Expr:
    _text(t, node.this, node.expression)
    return form("starts_with(x, y)", x=node.this, y=node.expression)


def _ends(t: Translation, node: exp.EndsWith) -> exp.Expr:
    _text(t, node.this, node.expression)
    return form("ends_with(x, y)", x=node.this, y=node.expression)


def _nvl2(t: Translation, node: exp.Nvl2) -> exp.Expr:
    otherwise = node.args.get("false") or exp.null()
    _one_result(t, node, [node.args["true"], otherwise])
    return form("CASE WHEN NOT x IS NULL THEN a ELSE b END", x=node.this, a=node.args["true"], b=otherwise)


def _last_day(t: Translation, node: exp.LastDay) -> exp.Expr:
    moments.moment(t, node.this)
    return form("last_day(x)", x=node.this)


def _like(t: Translation, node: exp.Like) -> exp.Expr:
    """Without backslash, which is an escape in some and in DuckDB is none."""
    pattern = node.expression
    if not (isinstance(pattern, exp.Literal) and pattern.is_string) or "\\" in pattern.name:
        raise t.refused(node, "backslashes in a pattern mean different things", "write the pattern as a literal")
    _text(t, node.this)
    return node


def _translate(t: Translation, node: exp.Translate) -> exp.Expr:
    letters = [node.args["from_"], node.args["to"]]
    if not all(isinstance(x, exp.Literal) and x.is_string for x in letters) or (
        len(letters[0].name) != len(letters[1].name) or len(set(letters[0].name)) < len(letters[0].name)
    ):
        raise t.refused(node, "TRANSLATE of unequal or repeated letters differs", "pair each letter with one other")
    _text(t, node.this)
    return node


def _md5(t: Translation, node: exp.MD5) -> exp.Expr:
    _text(t, node.this)
    return node


def _absolute(t: Translation, node: exp.Abs) -> exp.Expr:
    if t.kind_of(node.this) not in NUMBERS:
        raise t.refused(node, "only numbers have an absolute value", "add an explicit CAST")
    return node


def _count_if(t: Translation, node: exp.CountIf) -> exp.Expr:
    return form("count(CASE WHEN c THEN 1 END)", c=node.this)


def _limit(t: Translation, node: exp.Limit | exp.Offset) -> exp.Expr:
    if not (isinstance(node.expression, exp.Literal) and node.expression.name.isdigit()):
        raise t.refused(node, "LIMIT and OFFSET take a literal number here", "write the number")
    return node


def _same_sign(t: Translation, node: exp.Floor | exp.Ceil) -> exp.Expr:
    if t.kind_of(node.this) not in (*EXACT, Kind.FLOAT):
        raise t.refused(node, "only numbers are rounded", "add an explicit CAST")
    return type(node)(this=node.this.copy())


def _is(t: Translation, node: exp.Is) -> exp.Expr:
    plain = exp.Is(this=node.this.copy(), expression=node.expression.copy())
    return exp.Not(this=plain) if node.args.get("negate") else plain


def _null_safe(t: Translation, node: exp.Binary) -> exp.Expr:
    same_family(t, node, [node.this, node.expression])
    return node


def greatest_or_null(t: Translation, node: exp.Greatest | exp.Least) -> exp.Expr:
    """GREATEST that is NULL where an operand is: DuckDB's leaves NULLs out."""
    operands = [node.this, *node.expressions]
    ordered_family(t, node, operands)
    missing: exp.Expr = exp.Is(this=operands[0].copy(), expression=exp.null())
    for operand in operands[1:]:
        missing = exp.Or(this=missing, expression=exp.Is(this=operand.copy(), expression=exp.null()))
    found = type(node)(this=operands[0].copy(), expressions=[o.copy() for o in operands[1:]], ignore_nulls=True)
    return form("CASE WHEN missing THEN NULL ELSE found END", missing=missing, found=found)


def divided(t: Translation, node: exp.Div | exp.SafeDivide) -> exp.Expr:
    """``/`` as a division of doubles."""
    return form("(a / b)", a=cast(node.this, "DOUBLE"), b=cast(node.expression, "DOUBLE"))


def _equal_null(t: Translation, node: exp.EqualNull) -> exp.Expr:
    same_family(t, node, [node.this, node.expression])
    return exp.NullSafeEQ(this=node.this.copy(), expression=node.expression.copy())


def _interval(t: Translation, node: exp.Interval) -> exp.Expr:
    if isinstance(node.parent, (exp.Add, exp.Sub)) and node.arg_key == "expression":
        return node
    raise t.refused(node, "intervals are compared and shown differently", "add it to a date or timestamp")


COMPARED: dict[type[exp.Expr], Build] = {exp.In: _in, exp.Case: _case, exp.Nullif: _nullif}
"""What compares as ``=`` does, without being one."""
_CLOCK = refusal("it has another value in every run", "pass the moment to a lambda: {{ as_of() }}")
_CHANCE = refusal("it has another value in every run", "choose by a column, as in a remainder of the key")
_NEW_KEY = refusal("it has another value in every run", "make the key of columns: MD5 of what identifies the row")
_PLAIN = (
    exp.Alias, exp.And, exp.Boolean, exp.CTE, exp.Column, exp.Count, exp.Distinct, exp.Exists, exp.From, exp.Group,
    exp.Having, exp.Identifier, exp.Not, exp.Null, exp.Or, exp.Order, exp.Paren, exp.Qualify, exp.Star,
    exp.Subquery, exp.TableAlias, exp.Tuple, exp.Var, exp.Where, exp.WindowSpec, exp.RowNumber, exp.Rank,
    exp.DenseRank, exp.DataType, exp.DataTypeParam, exp.Placeholder, exp.Parameter,
)  # fmt: skip
RULES: dict[type[exp.Expr], Rule] = {
    **{node: rule() for node in _PLAIN},
    exp.Select: rule(args="with_ from_ joins where group having qualify order limit offset distinct windows"),
    exp.Union: rule(_set_operation, args="with_ distinct order limit offset"),
    exp.Intersect: rule(_set_operation, args="with_ distinct order limit offset"),
    exp.Except: rule(_set_operation, args="with_ distinct order limit offset"),
    exp.Is: rule(_is, "negate"),
    exp.With: rule(),
    exp.Table: rule(args="db catalog alias"),
    exp.Subquery: rule(args="alias"),
    exp.Alias: rule(args="alias"),
    exp.CTE: rule(args="alias"),
    exp.TableAlias: rule(args="columns"),
    exp.Join: rule(args="on side kind using"),
    exp.Identifier: rule(args="quoted global_ temporary"),
    exp.Column: rule(args="table db catalog"),
    exp.Count: rule(args="big_int"),
    exp.Filter: rule(),
    exp.Literal: rule(_whole_numbers, "is_string"),
    exp.DataType: rule(args="*"),
    exp.Window: rule(args="partition_by order spec over alias"),
    exp.WindowSpec: rule(args="kind start start_side end end_side"),
    exp.Ordered: rule(_ordered, "desc nulls_first"),
    exp.Limit: rule(_limit),
    exp.Offset: rule(_limit),
    exp.Case: rule(_case, "ifs default"),
    exp.If: rule(either, "true false"),
    exp.Coalesce: rule(_coalesce, "is_nvl is_null"),
    exp.Nullif: rule(_nullif),
    exp.EQ: rule(_equality),
    exp.NEQ: rule(_equality),
    exp.NullSafeEQ: rule(_null_safe),
    exp.NullSafeNEQ: rule(_null_safe),
    exp.EqualNull: rule(_equal_null),
    exp.GT: rule(_comparison),
    exp.GTE: rule(_comparison),
    exp.LT: rule(_comparison),
    exp.LTE: rule(_comparison),
    exp.Between: rule(_between, "low high negate"),
    exp.In: rule(_in, "query negate"),
    exp.Min: rule(_extreme),
    exp.Max: rule(_extreme),
    exp.LogicalOr: rule(),
    exp.LogicalAnd: rule(),
    exp.CountIf: rule(_count_if, "zero_on_all_null"),
    exp.Neg: rule(_sign),
    exp.Abs: rule(_absolute),
    exp.Floor: rule(_same_sign),
    exp.Ceil: rule(_same_sign),
    exp.Length: rule(_length, "binary"),
    exp.Substring: rule(_substring, "start length zero_start"),
    exp.Left: rule(_end, "negative_length_returns_empty"),
    exp.Right: rule(_end, "negative_length_returns_empty"),
    exp.SplitPart: rule(_split_part, "delimiter part_index part_index_zero_as_one empty_delimiter_returns_whole"),
    exp.Trim: rule(_trim, "position"),
    exp.Replace: rule(_replace, "replacement"),
    exp.DPipe: rule(_pipes, "safe"),
    exp.Concat: rule(strict_concat, "safe coalesce"),
    exp.StrPosition: rule(_position, "substr clamp_position"),
    exp.Contains: rule(_contains),
    exp.StartsWith: rule(_starts),
    exp.EndsWith: rule(_ends),
    exp.Nvl2: rule(_nvl2, "true false"),
    exp.LastDay: rule(_last_day),
    exp.Like: rule(_like, "negate"),
    exp.Translate: rule(_translate, "from_ to"),
    exp.MD5: rule(_md5),
    exp.Lag: rule(args="offset default"),
    exp.Lead: rule(args="offset default"),
    exp.FirstValue: rule(),
    exp.LastValue: rule(),
    exp.Interval: rule(_interval, "unit"),
    exp.Lower: refusal(
        "which letters have a lower case depends on the engine, its locale and its edition of Unicode",
        "TRANSLATE(x, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz')",
    ),
    exp.Upper: refusal(
        "which letters have an upper case depends on the engine, its locale and its edition of Unicode",
        "TRANSLATE(x, 'abcdefghijklmnopqrstuvwxyz', 'ABCDEFGHIJKLMNOPQRSTUVWXYZ')",
    ),
    exp.ILike: refusal("which letters are equal without case depends on the engine", "use LIKE"),
    exp.RegexpLike: refusal("each engine has regular expressions of its own", "use LIKE or split_part"),
    exp.RegexpReplace: refusal("each engine has regular expressions of its own", "use REPLACE"),
    exp.RegexpExtract: refusal("each engine has regular expressions of its own", "use split_part"),
    **dict.fromkeys((exp.CurrentDate, exp.CurrentDatetime, exp.CurrentTime, exp.CurrentTimestamp), _CLOCK),
    **dict.fromkeys((exp.Localtime, exp.Localtimestamp), _CLOCK),
    **dict.fromkeys((exp.Rand, exp.Randn, exp.Randstr, exp.Uniform), _CHANCE),
    exp.Uuid: _NEW_KEY,
    exp.AnyValue: refusal("any value may be taken", "use MIN or MAX"),
    exp.JSONExtract: refusal(
        "numbers and blanks inside JSON are written differently", "declare the fields as columns of the source"
    ),
    exp.JSONExtractScalar: refusal(
        "numbers and blanks inside JSON are written differently", "declare the fields as columns of the source"
    ),
}


def _every(t: Translation, node: exp.Anonymous) -> exp.Expr:
    return form("bool_and(x)", x=node.expressions[0])


FUNCTIONS: dict[str, Rule] = {"every": rule(_every)}
"""Functions that sqlglot has no node for, by name in lower case."""
