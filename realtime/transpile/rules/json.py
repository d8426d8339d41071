"""JSON: one value out of a document, guarded so that what is missing is NULL, as in DuckDB."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from realtime.transpile.form import call, form, number, text
from realtime.transpile.lower import Lower, Rule, refused, rule, type_of
from realtime.transpile.types import Kind


def _path(node: exp.JSONExtract | exp.JSONExtractScalar) -> list[exp.Expr]:
    """Keys as text, indexes counted from 1."""
    path = node.expression
    steps: list[exp.Expr] = []
    for part in path.expressions if isinstance(path, exp.JSONPath) else [path]:
        if isinstance(part, exp.JSONPathRoot):
            continue
        if isinstance(part, exp.JSONPathKey) and isinstance(part.this, str):
            steps.append(text(part.this))
        elif isinstance(part, exp.JSONPathSubscript) and isinstance(part.this, int) and part.this >= 0:
            steps.append(number(part.this + 1))
        else:
            raise refused(node, "this path into JSON", remedy="write keys and numbers, as in '$.a.b[0]'")
    if not steps:
        raise refused(node, "a path to the whole document", remedy="name a key")
    return steps


def _extracted(scalar: bool) -> Callable[[Lower, exp.JSONExtract | exp.JSONExtractScalar], exp.Expr]:
    def build(lower: Lower, node: exp.JSONExtract | exp.JSONExtractScalar) -> exp.Expr:
        if type_of(node.this).kind not in (Kind.JSON, Kind.TEXT):
            raise refused(node, f"a path into {type_of(node.this)}", remedy="cast it to JSON")
        document, path = _document(lower, node.this), _path(node)
        raw, kind = call("JSONExtractRaw", document, *path), call("JSONType", document, *path)
        missing = exp.paren(exp.or_(*_missing(document, path), copy=True), copy=False)
        # ClickHouse drops the fraction of 1.0, by which DuckDB tells a DOUBLE.
        double = form("concat(raw, if(match(raw, whole), '.0', ''))", raw=raw, whole="^-?[0-9]+$")
        if scalar:
            template = "multiIf(missing OR kind = 'Null', NULL, kind = 'String', shown, kind = 'Double', double, raw)"
            shown = call("JSONExtractString", document, *path)
            return form(template, missing=missing, kind=kind, shown=shown, double=double, raw=raw)
        template = "multiIf(missing, NULL, kind = 'Double', double, raw)"
        return form(template, missing=missing, kind=kind, double=double, raw=raw)

    return build


def _document(lower: Lower, node: exp.Expr) -> exp.Expr:
    """The document ``node``; text that is no JSON fails, as in DuckDB."""
    document = lower(node)
    if type_of(node).kind is Kind.JSON:
        return document
    template = "if(ifNull(isValidJSON(x), true), x, toString(throwIf(1, 'text is no JSON')))"
    return form(template, x=document)


def _valid(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    if type_of(node.expressions[0]).kind not in (Kind.JSON, Kind.TEXT):
        raise refused(node, f"json_valid of {type_of(node.expressions[0])}", remedy="cast it to VARCHAR")
    return call("isValidJSON", lower(node.expressions[0]))


def _missing(document: exp.Expr, path: list[exp.Expr]) -> list[exp.Expr]:
    """Conditions under which nothing is at ``path``: an index into an object would be its n-th member."""
    conditions: list[exp.Expr] = [call("isNull", document), form("NOT found", found=call("JSONHas", document, *path))]
    for at, step in enumerate(path):
        if not step.is_string:
            kind = call("JSONType", document, *path[:at])
            conditions.append(form("kind != 'Array'", kind=kind))
    return conditions


def _array_length(lower: Lower, node: exp.Anonymous) -> exp.Expr:
    """Of what is no array the length is 0; ClickHouse counts the members of objects, too."""
    (document,) = node.expressions if len(node.expressions) == 1 else (None,)
    if document is None or type_of(document).kind is not Kind.JSON:
        raise refused(node, "json_array_length of text or with a path", remedy="write json_array_length(doc -> 'key')")
    template = "if(isNull(d), NULL, if(JSONType(d) = 'Array', JSONLength(d), toUInt64(0)))"
    return form(template, d=lower(document))


_ARGS = "only_json_types scalar_only requires_json variant_extract"
RULES: dict[type[exp.Expr], Rule] = {
    exp.JSONExtract: rule(_extracted(False), _ARGS),
    exp.JSONExtractScalar: rule(_extracted(True), _ARGS),
}
FUNCTIONS: dict[str, Rule] = {"json_array_length": rule(_array_length), "json_valid": rule(_valid)}
