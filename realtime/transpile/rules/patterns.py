"""LIKE, ILIKE and regular expressions: RE2 in both engines, under different rules for what surrounds the pattern."""

from __future__ import annotations

import re

from sqlglot import exp

from realtime.transpile.form import call, cast, form
from realtime.transpile.lower import Lower, Rule, refused, rule
from realtime.transpile.rules.letters import changed
from realtime.transpile.rules.text import constant_of, text_of, whole

_NULL_BOOLEAN = "Nullable(UInt8)"
# What RE2's Rewrite, with which DuckDB replaces, understands after a backslash.
_REWRITE = re.compile(r"(?:[^\\]|\\[0-9\\])*")


def _like(lower: Lower, node: exp.Like) -> exp.Expr:
    return _matched(lower, node, "", insensitive=False)


def _ilike(lower: Lower, node: exp.ILike) -> exp.Expr:
    return _matched(lower, node, "", insensitive=True)


def _escape(lower: Lower, node: exp.Escape) -> exp.Expr:
    inner = node.this
    if not isinstance(inner, (exp.Like, exp.ILike)):
        raise refused(node, "ESCAPE of what is no LIKE", remedy="write x LIKE pattern ESCAPE '!'")
    return _matched(lower, inner, constant_of(node.expression, "an escape"), insensitive=isinstance(inner, exp.ILike))


def _matched(lower: Lower, node: exp.Like | exp.ILike, escape: str, *, insensitive: bool) -> exp.Expr:
    if isinstance(node.expression, exp.Null):
        return cast(exp.null(), _NULL_BOOLEAN)
    x, pattern = text_of(lower, node.this), _pattern(lower, node.expression, escape)
    if insensitive:
        # DuckDB lowers both sides; ClickHouse's own ILIKE folds other letters.
        x, pattern = changed(x, "lower"), changed(pattern, "lower")
    found = call("like", x, pattern)
    return form("NOT (found)", found=found) if node.args.get("negate") else found


def _pattern(lower: Lower, node: exp.Expr, escape: str) -> exp.Expr:
    """The pattern as ClickHouse reads it: a backslash is a letter in DuckDB, the escape in ClickHouse."""
    if not isinstance(node, exp.Literal):
        if escape:
            raise refused(node, "a pattern with ESCAPE that is no constant", remedy="write the pattern as a literal")
        return call("replaceAll", text_of(lower, node), "\\", "\\\\")
    given, written, at = constant_of(node, "a pattern"), "", 0
    while at < len(given):
        letter = given[at]
        if escape and letter == escape:
            at += 1
            if at == len(given):
                raise refused(node, "a pattern that ends in its escape", remedy="double the escape")
            letter = given[at]
            written += f"\\{letter}" if letter in "%_\\" else letter
        else:
            written += "\\\\" if letter == "\\" else letter
        at += 1
    return exp.Literal.string(written)


def expression(node: exp.Expr, options: exp.Expr | None, allowed: str) -> str:
    """A regular expression for ClickHouse, in which a dot would match line ends unless told otherwise."""
    given = constant_of(options, "options") if options is not None else ""
    if set(given) - set(allowed):
        raise refused(node, f"options {given!r} of a regular expression", remedy=f"use those of {', '.join(allowed)}")
    flags = ("i" if "i" in given else "") + ("s" if "s" in given else "")
    pattern = constant_of(node, "a regular expression")
    return f"(?{flags}{'' if 's' in given else '-s'}){pattern}"


def _regexp(lower: Lower, node: exp.RegexpLike) -> exp.Expr:
    return call("match", text_of(lower, node.this), expression(node.expression, node.args.get("flag"), "cis"))


def _full(lower: Lower, node: exp.RegexpFullMatch | exp.SimilarTo) -> exp.Expr:
    pattern = constant_of(node.expression, "a regular expression")
    found = call("match", text_of(lower, node.this), rf"(?-s)\A(?:{pattern})\z")
    return form("NOT (found)", found=found) if node.args.get("negate") else found


def _extract(lower: Lower, node: exp.RegexpExtract) -> exp.Expr:
    group = whole(node.args["group"]) if node.args.get("group") is not None else 0
    pattern = expression(node.expression, node.args.get("parameters"), "cis")
    if group is None or not 0 <= group <= _groups(node.expression):
        raise refused(node, "a group that the expression does not have", remedy="write the number of a group")
    return call("regexpExtract", text_of(lower, node.this), pattern, group)


def _replace(lower: Lower, node: exp.RegexpReplace) -> exp.Expr:
    options = node.args.get("modifiers")
    pattern = expression(node.expression, options, "cisg")
    replacement = constant_of(node.args["replacement"], "a replacement")
    groups = [int(n) for n in re.findall(r"\\([0-9])", replacement.replace("\\\\", ""))]
    if not _REWRITE.fullmatch(replacement) or max(groups, default=0) > _groups(node.expression):
        raise refused(node, "a replacement with a backslash before another letter", remedy="double the backslash")
    every = options is not None and "g" in options.name
    if every and _matches_nothing(node.expression):
        raise refused(node, "replacing every match of what may be empty", remedy="write + where * stands")
    return call("replaceRegexpAll" if every else "replaceRegexpOne", text_of(lower, node.this), pattern, replacement)


def _compiled(node: exp.Expr) -> re.Pattern[str]:
    try:
        return re.compile(node.name)
    except re.error:
        raise refused(
            node, "this regular expression can't be checked", remedy="use the syntax RE2 and Python share"
        ) from None


def _groups(node: exp.Expr) -> int:
    return _compiled(node).groups


def _matches_nothing(node: exp.Expr) -> bool:
    """Whether the expression may match the empty text, as far as trying it on some texts tells."""
    found = (_compiled(node).search(text) for text in ("", "\n", " ", "a", "0", "-"))
    return any(match is not None and not match[0] for match in found)


RULES: dict[type[exp.Expr], Rule] = {
    exp.Like: rule(_like, "negate"),
    exp.ILike: rule(_ilike, "negate"),
    exp.Escape: rule(_escape),
    exp.RegexpLike: rule(_regexp, "flag"),
    exp.RegexpFullMatch: rule(_full),
    exp.SimilarTo: rule(_full, "negate"),
    exp.RegexpExtract: rule(_extract, "group parameters null_if_pos_overflow"),
    exp.RegexpReplace: rule(_replace, "replacement modifiers single_replace"),
}
