"""Text: pieces, padding, trimming, joining, searching and hashing, counted in code points as DuckDB counts."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.form import text as literal
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.ranges import range_of
from realtime.transpile.types import NESTED, VARCHAR, Kind

# DuckDB's trim() takes every blank of Unicode's category Zs, and neither tabs nor line ends.
_BLANKS_BEFORE, _BLANKS_AFTER = r"^\p{Zs}+", r"\p{Zs}+$"
_FARTHEST = 2**32 - 1
# The backslash first: the others' escapes hold one.
_LIKE = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})
_NULL_TEXT = "Nullable(String)"


def text_of(lower: Lower, node: exp.Expr) -> exp.Expr:
    """``node`` lowered, where it is text; other types are refused, for DuckDB would pick another function or cast."""
    found = type_of(node)
    if found.kind is Kind.NULL:
        return cast(exp.null(), _NULL_TEXT)
    if found.kind not in (Kind.TEXT, Kind.ENUM):
        raise refused(node, f"{found} where text is expected", remedy="cast it to VARCHAR")
    return lower(node)


def integer_of(lower: Lower, node: exp.Expr, *, place: bool = True) -> exp.Expr:
    """``node`` lowered to a 64-bit whole number; a ``place`` in a text fails beyond 32 bits, as in DuckDB."""
    if type_of(node).kind is not Kind.INTEGER:
        raise refused(node, f"{type_of(node)} where a whole number is expected", remedy="cast it to BIGINT")
    known, found = range_of(node), call("toInt64", lower(node))
    # Twice as far is as good: what is computed of a text's length is no farther.
    near = known is not None and known[0] >= -2 * _FARTHEST and known[1] <= 2 * _FARTHEST
    if (near and not isinstance(node, exp.Literal)) or not place:
        return found
    return form("x + throwIf(ifNull(abs(x) > most, 0), 'place beyond 32 bits')", x=found, most=_FARTHEST)


def whole(node: exp.Expr) -> int | None:
    """The value of an integer literal with its sign; None where ``node`` is none."""
    digits = node.this if isinstance(node, exp.Neg) else node
    if not isinstance(digits, exp.Literal) or not digits.is_int:
        return None
    return -int(digits.name) if isinstance(node, exp.Neg) else int(digits.name)


def constant_of(node: exp.Expr, what: str) -> str:
    """The value of a text literal."""
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise refused(node, f"{what} that is no constant", remedy="write it as a literal")
    return str(node.name)


def _of_text(template: str, arguments: tuple[str, ...] = ()) -> Callable[[Lower, exp.Expr], exp.Expr]:
    """A function of texts: ``x`` is the first argument, the node's other ``arguments`` go by their own names."""

    def build(lower: Lower, node: exp.Expr) -> exp.Expr:
        parts = {name: text_of(lower, node.args[name]) for name in arguments}
        return form(template, x=text_of(lower, node.this), **parts)

    return build


def _anonymous(template: str) -> Callable[[Lower, exp.Anonymous], exp.Expr]:
    def build(lower: Lower, node: exp.Anonymous) -> exp.Expr:
        names = ("x", "y", "z")
        return form(template, **{n: text_of(lower, a) for n, a in zip(names, node.expressions, strict=False)})

    return build


def _substring(lower: Lower, node: exp.Substring) -> exp.Expr:
    x, start, length = text_of(lower, node.this), node.args["start"], node.args.get("length")
    from_, number = whole(start), whole(length) if length is not None else 0
    if from_ is not None and 0 < from_ <= _FARTHEST and number is not None and 0 <= number <= _FARTHEST:
        return call("substringUTF8", x, from_, *([number] if length is not None else []))
    o = integer_of(lower, start)
    # Where it starts, counted from 0; negative where a start from the end lies before the text.
    first = form("multiIf(isNull(o), NULL, o > 0, o - 1, o < 0, toInt64(lengthUTF8(x)) + o, 0)", o=o, x=x)
    if length is None:
        return form("substringUTF8(x, from_ + 1)", x=x, from_=not_negative(first))
    # Place 0 is one before the first letter; a negative length takes what stands before the place.
    taken = form("(n - (o = 0))", n=integer_of(lower, length), o=o)
    low = not_negative(form("if(taken < 0, first + taken, first)", first=first, taken=taken))
    high = not_negative(form("if(taken < 0, first, first + taken)", first=first, taken=taken))
    template = """if(o = 0 AND taken <= 0, if(isNull(x), NULL, ''), substringUTF8(x, low + 1, high - low))"""
    return form(template, x=x, low=low, high=high, o=o, taken=taken)


def not_negative(x: exp.Expr) -> exp.Expr:
    """``x``, or 0 where it is below; ClickHouse's ``greatest`` passes over NULL."""
    return form("if(x < 0, 0, x)", x=x)


def _left(lower: Lower, node: exp.Left) -> exp.Expr:
    x, n = text_of(lower, node.this), integer_of(lower, node.expression)
    rest = not_negative(form("toInt64(lengthUTF8(x)) + n", x=x, n=n))
    return form("substringUTF8(x, 1, if(n >= 0, n, rest))", x=x, n=n, rest=rest)


def _right(lower: Lower, node: exp.Right) -> exp.Expr:
    x, n = text_of(lower, node.this), integer_of(lower, node.expression, place=False)
    skipped = not_negative(form("toInt64(lengthUTF8(x)) - n", x=x, n=n))
    return form("substringUTF8(x, if(n >= 0, skipped, -n) + 1)", x=x, n=n, skipped=skipped)


def _trim(lower: Lower, node: exp.Trim) -> exp.Expr:
    position, characters = node.args.get("position") or "BOTH", node.expression
    x = text_of(lower, node.this)
    if characters is not None:
        if not constant_of(characters, "characters to trim").isascii():
            raise refused(node, "trimming letters beyond ASCII", remedy="use regexp_replace")
        side = {"BOTH": "trimBoth", "LEADING": "trimLeft", "TRAILING": "trimRight"}[position]
        return call(side, x, literal(characters.name)) if characters.name else x
    if position != "TRAILING":
        x = call("replaceRegexpOne", x, _BLANKS_BEFORE, "")
    return call("replaceRegexpOne", x, _BLANKS_AFTER, "") if position != "LEADING" else x


def _shown(lower: Lower, node: exp.Expr) -> exp.Expr:
    """``node`` as VARCHAR, as joining casts its operands."""
    if type_of(node).kind in NESTED:
        raise refused(node, f"joining {type_of(node)}", remedy="use list functions")
    return lower.to(node, VARCHAR)


def _joined(lower: Lower, node: exp.DPipe) -> exp.Expr:
    found = type_of(node)
    if found.kind is Kind.NULL:
        return cast(exp.null(), _NULL_TEXT)
    if found.kind is Kind.LIST and type_of(node.left).kind is type_of(node.right).kind:
        return call("arrayConcat", lower.to(node.left, found), lower.to(node.right, found))
    return call("concat", *(_shown(lower, side) for side in (node.left, node.right)))


def _concat(lower: Lower, node: exp.Concat) -> exp.Expr:
    if type_of(node).kind is not Kind.TEXT:
        raise refused(node, f"concat that gives {type_of(node)}", remedy="concatenate text")
    return call("concat", *(call("ifNull", _shown(lower, x), "") for x in node.expressions), "")


def _concat_ws(lower: Lower, node: exp.ConcatWs) -> exp.Expr:
    separator, *parts = node.expressions
    items = exp.Array(expressions=[call("toNullable", _shown(lower, p)) for p in parts])
    template = "arrayStringConcat(arrayFilter(_part -> isNotNull(_part), items), separator)"
    return form(template, items=items, separator=literal(constant_of(separator, "a separator")))


def _pad(lower: Lower, node: exp.Pad) -> exp.Expr:
    fill = constant_of(node.args["fill_pattern"], "a filling") if node.args.get("fill_pattern") else ""
    if not fill:
        raise refused(node, "padding with nothing", remedy="name the filling")
    side = "leftPadUTF8" if node.args.get("is_left") else "rightPadUTF8"
    size = not_negative(integer_of(lower, node.expression))
    return call(side, text_of(lower, node.this), size, fill)


def _repeat(lower: Lower, node: exp.Repeat) -> exp.Expr:
    return call("repeat", text_of(lower, node.this), integer_of(lower, node.args["times"]))


def _replace(lower: Lower, node: exp.Replace) -> exp.Expr:
    x, needle = text_of(lower, node.this), constant_of(node.expression, "a text to replace")
    return call("replaceAll", x, needle, text_of(lower, node.args["replacement"])) if needle else x


def _split_part(lower: Lower, node: exp.SplitPart) -> exp.Expr:
    number, delimiter = whole(node.args["part_index"]), constant_of(node.args["delimiter"], "a delimiter")
    if not number or not delimiter:
        raise refused(
            node, "split_part by nothing, or of a part that is no constant", remedy="write split_part(x, ',', 1)"
        )
    template = "if(isNull(x), NULL, arrayElement(splitByString(delimiter, assumeNotNull(ifNull(x, ''))), n))"
    return form(template, x=text_of(lower, node.this), delimiter=delimiter, n=number)


def _length(lower: Lower, node: exp.Length) -> exp.Expr:
    if type_of(node.this).kind is Kind.LIST:
        return call("toInt64", call("length", lower(node.this)))
    return call("toInt64", call("lengthUTF8", text_of(lower, node.this)))


def _sha2(lower: Lower, node: exp.SHA2) -> exp.Expr:
    if node.args["length"].name != "256":
        raise refused(node, "sha2 of another length", remedy="use sha256")
    return form("lower(hex(SHA256(x)))", x=text_of(lower, node.this))


def _translate(lower: Lower, node: exp.Translate) -> exp.Expr:
    old, new = (constant_of(node.args[name], "letters to translate") for name in ("from_", "to"))
    if len(old) != len(new) or len(set(old)) < len(old):
        raise refused(node, "translate to fewer letters, or of one letter twice", remedy="give one letter for each")
    return call("translateUTF8", text_of(lower, node.this), old, new)


def _contains(lower: Lower, node: exp.Contains) -> exp.Expr:
    """Of what is the same for every row as LIKE, for which ClickHouse uses a text index."""
    x, part = text_of(lower, node.this), text_of(lower, node.expression)
    if any(node.expression.find_all(exp.Column, exp.Query)):
        return form("position(x, part) > 0", x=x, part=part)
    if isinstance(node.expression, exp.Literal):
        return call("like", x, f"%{node.expression.name.translate(_LIKE)}%")
    for letter, escaped in _LIKE.items():
        part = call("replaceAll", part, chr(letter), escaped)
    return call("like", x, call("concat", "%", part, "%"))


RULES: dict[type[exp.Expr], Rule] = {
    exp.Substring: rule(_substring, "start length"),
    exp.Left: rule(_left),
    exp.Right: rule(_right),
    exp.Trim: rule(_trim, "position"),
    exp.DPipe: rule(_joined, "safe"),
    exp.Concat: rule(_concat, "safe coalesce"),
    exp.ConcatWs: rule(_concat_ws, "safe coalesce"),
    exp.Pad: rule(_pad, "fill_pattern is_left"),
    exp.Repeat: rule(_repeat, "times"),
    exp.Replace: rule(_replace, "replacement"),
    exp.SplitPart: rule(_split_part, "delimiter part_index"),
    exp.Length: rule(_length),
    exp.SHA2: rule(_sha2, "length"),
    exp.Translate: rule(_translate, "from_ to"),
    exp.MD5: rule(_of_text("lower(hex(MD5(x)))")),
    exp.SHA: rule(_of_text("lower(hex(SHA1(x)))")),
    exp.StartsWith: rule(_of_text("startsWith(x, expression)", ("expression",))),
    exp.EndsWith: rule(_of_text("endsWith(x, expression)", ("expression",))),
    exp.Contains: rule(_contains, "expression"),
    exp.StrPosition: rule(_of_text("toInt64(positionUTF8(x, substr))", ("substr",)), "substr"),
    exp.Levenshtein: rule(_of_text("toInt64(editDistance(x, expression))", ("expression",))),
}
FUNCTIONS: dict[str, Rule] = {
    "strlen": rule(_anonymous("toInt64(length(x))")),
    "prefix": rule(_anonymous("startsWith(x, y)")),
    "suffix": rule(_anonymous("endsWith(x, y)")),
}
