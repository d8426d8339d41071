"""Text, counted in code points, compared by bytes."""

from __future__ import annotations

from sqlglot import exp

from realtime.emit.warehouses.warehouse import Writer, rule
from realtime.transpile.form import call, form, text
from realtime.transpile.lower import Rule, refused, type_of
from realtime.transpile.rules.text import constant_of, whole
from realtime.transpile.types import BIGINT, VARCHAR, DuckType, Kind

# Unicode's category Zs, which is what DuckDB's trim() takes.
_BLANKS = "".join(map(chr, (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)))
_TRIMS = {"": "btrim", "LEADING": "ltrim", "TRAILING": "rtrim"}


def _text(writer: Writer, node: exp.Expr) -> exp.Expr:
    if type_of(node).kind is not Kind.TEXT:
        raise refused(node, f"{type_of(node)} where text is expected", remedy="cast it to VARCHAR")
    return writer(node)


def _of_text(template: str, arguments: str = "", gives: DuckType | None = None, args: str = "") -> Rule:
    """A function of texts: ``x`` is the first argument, the node's other ``arguments`` go by their own names;
    ``gives`` is DuckDB's type of the result where the warehouse's is another."""

    def build(writer: Writer, node: exp.Expr) -> exp.Expr:
        parts = {name: _text(writer, node.args[name]) for name in arguments.split()}
        written = form(template, x=_text(writer, node.this), **parts)
        return writer.cast(written, gives) if gives is not None else written

    return rule(build, f"{arguments} {args}")


def _sought(writer: Writer, node: exp.Expr, argument: str) -> exp.Expr:
    """A text that is looked for: empty ones are found in different places."""
    found = node.args[argument]
    if constant_of(found, "text to look for") == "":
        raise refused(node, "an empty text is looked for", remedy="drop it")
    return writer(found)


def _find(template: str, argument: str, gives: DuckType | None = None) -> Rule:
    def build(writer: Writer, node: exp.Expr) -> exp.Expr:
        written = form(template, x=_text(writer, node.this), y=_sought(writer, node, argument))
        return writer.cast(written, gives) if gives is not None else written

    return rule(build, argument)


def _replace(writer: Writer, node: exp.Replace) -> exp.Expr:
    return call(
        "replace",
        _text(writer, node.this),
        _sought(writer, node, "expression"),
        _text(writer, node.args["replacement"]),
    )


def _count(node: exp.Expr, given: exp.Expr | None, least: int) -> int:
    number = whole(given) if given is not None else None
    if number is None or number < least:
        raise refused(node, f"a place that is no constant, or below {least}", remedy="write the number")
    return number


def _substring(writer: Writer, node: exp.Substring) -> exp.Expr:
    numbers = [_count(node, node.args["start"], 1)]
    if node.args.get("length") is not None:
        numbers.append(_count(node, node.args["length"], 0))
    return call("substr", _text(writer, node.this), *numbers)


def _edge(name: str) -> Rule:
    def build(writer: Writer, node: exp.Func) -> exp.Expr:
        return call(name, _text(writer, node.this), _count(node, node.expression, 0))

    return rule(build)


def _trim(writer: Writer, node: exp.Trim) -> exp.Expr:
    letters = node.args.get("expression")
    position = (node.args.get("position") or "").upper()
    given = text(_BLANKS) if letters is None else text(constant_of(letters, "letters to trim"))
    name = _TRIMS[position] if writer.warehouse.name == "postgres" else _TRIMS[position].removeprefix("b")
    return call(name, _text(writer, node.this), given)


def _as_text(writer: Writer, node: exp.Expr) -> exp.Expr:
    """``node`` as text where it is joined: DuckDB casts what is none."""
    return writer.to(node, VARCHAR) if type_of(node).kind in (Kind.INTEGER, Kind.BOOLEAN) else _text(writer, node)


def _joined(writer: Writer, node: exp.DPipe) -> exp.Expr:
    return form("x || y", x=_as_text(writer, node.left), y=_as_text(writer, node.right))


def _concat(writer: Writer, node: exp.Concat) -> exp.Expr:
    """NULLs are left out."""
    parts = [_as_text(writer, x) for x in node.expressions]
    if writer.warehouse.name == "snowflake":
        parts = [call("coalesce", part, text("")) for part in parts]
    return call("concat", *parts)


def _concat_ws(writer: Writer, node: exp.ConcatWs) -> exp.Expr:
    separator, *parts = node.expressions
    return call("concat_ws", text(constant_of(separator, "a separator")), *(_as_text(writer, p) for p in parts))


def _joined_with(writer: Writer, node: exp.ConcatWs) -> exp.Expr:
    """Snowflake's CONCAT_WS is NULL where a part is: each has the separator before it, and the first goes."""
    first, *parts = node.expressions
    separator = constant_of(first, "a separator")
    pieces = [form("coalesce(s || x, '')", s=text(separator), x=_as_text(writer, p)) for p in parts]
    return call("substr", call("concat", *pieces), len(separator) + 1)


def _suffix(writer: Writer, node: exp.Anonymous) -> exp.Expr:
    """DuckDB's other name for ends_with()."""
    whole_text, end = node.expressions
    return writer.warehouse.rules[exp.EndsWith].build(writer, exp.EndsWith(this=whole_text, expression=end))


def _translate(writer: Writer, node: exp.Translate) -> exp.Expr:
    letters = [constant_of(node.args[name], "letters") for name in ("from_", "to")]
    if len(letters[0]) != len(letters[1]) or len(set(letters[0])) < len(letters[0]):
        raise refused(node, "translate of unequal or repeated letters", remedy="pair each letter with one other")
    return call("translate", _text(writer, node.this), *map(text, letters))


def _repeat(writer: Writer, node: exp.Repeat) -> exp.Expr:
    return call("repeat", _text(writer, node.this), _count(node, node.args["times"], 0))


def _sha256(writer: Writer, node: exp.SHA2) -> exp.Expr:
    x = _text(writer, node.this)
    if writer.warehouse.name == "snowflake":
        return call("sha2", x, 256)
    return form("encode(sha256(convert_to(x, 'UTF8')), 'hex')", x=x)


def _split_part(writer: Writer, node: exp.SplitPart) -> exp.Expr:
    place = _count(node, node.args["part_index"], 1)
    return call("split_part", _text(writer, node.this), _sought(writer, node, "delimiter"), place)


def _pad(writer: Writer, node: exp.Pad) -> exp.Expr:
    width = _count(node, node.expression, 0)
    fill = node.args.get("fill_pattern")
    if fill is None or constant_of(fill, "what to pad with") == "":
        raise refused(node, "padding with nothing", remedy="write what to pad with")
    return call("lpad" if node.args.get("is_left") else "rpad", _text(writer, node.this), width, writer(fill))


def _like(writer: Writer, node: exp.Like) -> exp.Expr:
    """DuckDB has no escape unless one is given; PostgreSQL's is the backslash."""
    pattern = constant_of(node.expression, "a pattern")
    written: exp.Expr = exp.Like(this=_text(writer, node.this), expression=text(pattern))
    if writer.warehouse.name == "postgres":
        written = exp.Escape(this=written, expression=text(""))
    elif "\\" in pattern:
        raise refused(node, "a backslash in a pattern", remedy="use contains(x, '…')")
    return exp.Not(this=exp.paren(written)) if node.args.get("negate") else written


RULES: dict[type[exp.Expr], Rule] = {
    exp.Length: _of_text("length(x)", gives=BIGINT),
    exp.MD5: _of_text("md5(x)"),
    exp.Replace: rule(_replace, "replacement"),
    exp.Substring: rule(_substring, "start length"),
    exp.Left: _edge("left"),
    exp.Right: _edge("right"),
    exp.Trim: rule(_trim, "position"),
    exp.DPipe: rule(_joined, "safe"),
    exp.Concat: rule(_concat, "safe coalesce"),
    exp.SplitPart: rule(_split_part, "delimiter part_index"),
    exp.Pad: rule(_pad, "fill_pattern is_left"),
    exp.Like: rule(_like, "negate"),
    exp.Translate: rule(_translate, "from_ to"),
    exp.Repeat: rule(_repeat, "times"),
    exp.SHA2: rule(_sha256, "length"),
}
FUNCTIONS: dict[str, Rule] = {"suffix": rule(_suffix)}
POSTGRES: dict[type[exp.Expr], Rule] = {
    exp.StrPosition: _find("strpos(x, y)", "substr", BIGINT),
    exp.Contains: _find("strpos(x, y) > 0", "expression"),
    exp.StartsWith: _of_text("starts_with(x, expression)", "expression"),
    exp.EndsWith: _of_text("right(x, length(expression)) = expression", "expression"),
    exp.ConcatWs: rule(_concat_ws, "safe coalesce"),
}
SNOWFLAKE: dict[type[exp.Expr], Rule] = {
    exp.StrPosition: _find("charindex(y, x)", "substr", BIGINT),
    exp.Contains: _find("contains(x, y)", "expression"),
    exp.StartsWith: _of_text("startswith(x, expression)", "expression"),
    exp.EndsWith: _of_text("endswith(x, expression)", "expression"),
    exp.ConcatWs: rule(_joined_with, "safe coalesce"),
}
