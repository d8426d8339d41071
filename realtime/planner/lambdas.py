"""Lambdas: dbt analyses with parameters, compiled by the same compiler as models."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import sqlglot
from sqlglot import exp

from realtime.dialects.translate import to_duckdb, to_duckdb_type
from realtime.emit.readable import readable
from realtime.errors import BadRequestError, ConfigError, RefusedError
from realtime.planner.call_options import CallOptions, PageSizes, call_examples, call_options
from realtime.planner.ir import (
    AS_OF,
    CURSOR,
    PAGE_SIZE,
    Column,
    Keyed,
    LambdaSpec,
    Nearest,
    Paging,
    Param,
    Step,
    Together,
)
from realtime.planner.key_rows import ApartError, key_of
from realtime.planner.keyed import NotKeyedError, for_many, keyed_query
from realtime.planner.nearest import SETTINGS as SEARCH_SETTINGS
from realtime.planner.nearest import find_search, over_candidates
from realtime.planner.paging import page_params, pages, with_place
from realtime.planner.relations import Relations, to_read_views
from realtime.planner.row_keys import RowKeys
from realtime.planner.split_lambda import SplitLambda, SplitQuery, split_query
from realtime.planner.together import HOLDER, Joined, read_together
from realtime.project.binder import Binder, table
from realtime.project.manifest import PARAM_MARK, Query
from realtime.serving.parameters import Signature, innermost
from realtime.serving.values import form
from realtime.transpile.form import quote
from realtime.transpile.lower import refused
from realtime.transpile.settings import with_settings
from realtime.transpile.transpile import resolved, transpile
from realtime.transpile.types import Kind, duck_type

Inlined = Callable[[exp.Query], exp.Query]
_EXACT = (
    Kind.INTEGER, Kind.DECIMAL, Kind.BOOLEAN, Kind.TEXT, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.UUID,
)  # fmt: skip
"""Kinds of which equal values are one group."""


def plan_lambda(
    query: Query,
    reads: tuple[str, ...],
    adapter: str,
    inlined: Inlined,
    binder: Binder,
    relations: Relations,
    database: str,
    steps: Mapping[str, Step],
) -> LambdaSpec:
    """The compiled lambda; ``reads`` names what it reads, as authored, ``adapter`` the dialect it is written in,
    ``steps`` are those of models by unique id. ``inlined`` writes models that only map and filter rows into readers.

    RefusedError where its SQL can't be kept exactly or a parameter is contradictory.
    """
    params, options = _params(query, adapter, binder), call_options(query.options)
    tree = to_duckdb(query.sql, adapter, binder)
    _check_declared(tree, params)
    params = _limiting(tree, params)
    compiled = transpile(tree, binder)

    def sent(tree: exp.Query) -> str:
        return readable(with_settings(to_read_views(tree, relations, database)))

    columns, paging, apart, together = compiled.columns, None, "", None
    if options.paging is not None:
        keys = RowKeys(binder, relations, steps)
        select, keyed, alone, paging = _paged(tree, params, columns, options.paging, binder, keys, sent)
        params, apart = (*params, *page_params(options.paging)), "it answers in pages"
    else:
        select = sent(compiled.tree)
        keyed, alone = _for_many(tree, params, binder, columns, sent)
        try:
            together = _together(query.name, tree, params, binder, relations, steps, columns, sent)
        except (ApartError, RefusedError) as error:
            apart = error.message
    spec = LambdaSpec(
        name=query.name,
        version=_version(select, params, options),
        select=select,
        batch=query.sql.strip(),
        params=params,
        columns=columns,
        description=query.description,
        depends_on=reads,
        examples=call_examples(query.options, params),
        keyed=keyed,
        alone=alone,
        limits=options.limits,
        cache_seconds=options.cache_seconds,
        together=together,
        apart=apart,
        paging=paging,
    )
    if options.approximate:
        spec = _nearest(spec, inlined(to_duckdb(query.sql, adapter, binder)), options, binder, relations, database)
    _check_parameters(spec)
    return spec


def _nearest(
    exact: LambdaSpec, tree: exp.Query, options: CallOptions, binder: Binder, relations: Relations, database: str
) -> LambdaSpec:
    """``exact``, whose query is ``tree``, with that of a vector index. RefusedError where none can find its rows."""
    search = find_search(resolved(tree, binder), exact.name, relations)
    rows, param = search.asked
    made = to_read_views(over_candidates(search, exact.name, binder), relations, database)
    found = Nearest(readable(with_settings(made, SEARCH_SETTINGS)), search.why, rows, param)
    version = _version(exact.select + found.select, exact.params, options)
    why = "a vector index finds its rows"
    return msgspec.structs.replace(
        exact, version=version, nearest=found, keyed=None, alone=why, together=None, apart=why
    )


def _check_parameters(spec: LambdaSpec) -> None:
    """RefusedError where a declaration contradicts itself, or an example is not what it says."""
    try:
        signature = Signature.of(spec)
        for example in spec.examples:
            signature.read({}, example, dt.datetime.now(dt.UTC))
    except (ConfigError, BadRequestError) as error:
        raise RefusedError(error.message, remedy=error.remedy) from None


def _limiting(tree: exp.Query, params: tuple[Param, ...]) -> tuple[Param, ...]:
    """``params``, those that are a LIMIT or OFFSET themselves being never NULL and never negative: ClickHouse takes
    neither."""
    counts = [clause.expression for clause in tree.find_all(exp.Limit, exp.Offset)]
    names = {_bare(count).name for count in counts if count is not None}
    return tuple(
        msgspec.structs.replace(p, required=True, minimum=0 if p.minimum is None else p.minimum)
        if p.name in names
        else p
        for p in params
    )


def _bare(count: exp.Expr) -> exp.Expr:
    while isinstance(count, exp.Cast):
        count = count.this
    return count


def split_lambda(
    query: Query,
    spec: LambdaSpec,
    adapter: str,
    inlined: Inlined,
    binder: Binder,
    relations: Relations,
    database: str,
    steps: Mapping[str, Step],
) -> SplitLambda:
    """What states could hold of ``query``, planned as ``spec``, unless its author wants none; ``inlined`` writes the
    streams into what reads them."""
    if not call_options(query.options).states or spec.nearest is not None:
        return SplitLambda()
    tree, params, found = to_duckdb(query.sql, adapter, binder), spec.params, None
    if spec.paging is not None:
        params = tuple(p for p in params if p.name not in (PAGE_SIZE, CURSOR))
        found = pages(tree, params, spec.columns, binder, RowKeys(binder, relations, steps))
        tree = found.first

    def split(tree: exp.Query) -> SplitQuery | None:
        placed = with_place(tree, params, found.keys) if found is not None else tree
        return split_query(placed, spec.name, relations, database)

    one = many = after = None
    with contextlib.suppress(NotKeyedError, RefusedError):
        compiled = transpile(inlined(tree.copy()), binder)
        one = split(compiled.tree)
        after = split(transpile(inlined(found.after.copy()), binder).tree) if one is not None and found else None
        if one is not None and spec.keyed is not None:
            keyed = keyed_query(tree, params)
            keyed = dataclasses.replace(keyed, tree=inlined(keyed.tree))
            many = split(for_many(keyed, transpile(keyed.tree, binder), compiled.columns))
    return SplitLambda(one, many, after)


Sent = Callable[[exp.Query], str]
"""The text that is sent to ClickHouse."""


def _for_many(
    tree: exp.Query, params: tuple[Param, ...], binder: Binder, columns: tuple[Column, ...], sent: Sent
) -> tuple[Keyed | None, str]:
    """The form of ``tree`` for many keys; without one, why there is none."""
    try:
        many = keyed_query(tree, params)
        for_keys = for_many(many, transpile(many.tree, binder), columns)
        return Keyed(many.param.name, sent(for_keys), many.missing), ""
    except (NotKeyedError, RefusedError) as error:
        return None, error.message


def _paged(
    tree: exp.Query,
    params: tuple[Param, ...],
    columns: tuple[Column, ...],
    sizes: PageSizes,
    binder: Binder,
    keys: RowKeys,
    sent: Sent,
) -> tuple[str, Keyed | None, str, Paging]:
    """The query for the first page, its form for many keys or why there is none, and the pages after."""
    found = pages(tree, params, columns, binder, keys)

    def placed(tree: exp.Query) -> str:
        return sent(with_place(tree, params, found.keys))

    first, after = (transpile(page, binder) for page in (found.first, found.after))
    keyed, alone = _for_many(found.first, params, binder, first.columns, placed)
    paging = Paging(size=sizes.size, most=sizes.most, keys=found.keys, after=placed(after.tree), order=found.order)
    return placed(first.tree), keyed, alone, paging


def _together(
    name: str,
    tree: exp.Query,
    params: tuple[Param, ...],
    binder: Binder,
    relations: Relations,
    steps: Mapping[str, Step],
    columns: tuple[Column, ...],
    sent: Sent,
) -> Together:
    """The form of ``tree`` that reads one row of all its models, whose place is held by `HOLDER`. ApartError,
    RefusedError."""
    row = table(f"{HOLDER}_{name}")
    joined = read_together(resolved(tree.copy(), binder), row, relations, steps)
    _check_equal(joined, params)
    binder.add_table(row, joined.columns)
    compiled = transpile(joined.tree, binder)
    if compiled.columns != columns:
        raise ApartError("its columns would be of other types")

    def placed(tree: exp.Query) -> str:
        for reference in [t for t in tree.find_all(exp.Table) if t.name == row.name]:
            reference.replace(exp.Table(this=quote(HOLDER), alias=reference.args["alias"]))
        return sent(tree)

    keyed, alone = _for_many(joined.tree, params, binder, columns, placed)
    return Together(
        keys=tuple(joined.keys), members=joined.members, select=placed(compiled.tree), keyed=keyed, alone=alone
    )


def _check_equal(joined: Joined, params: tuple[Param, ...]) -> None:
    """ApartError where more than one key may equal a parameter: of another type, or zeros of floats."""
    types, given = dict(joined.columns), {p.name: p.type for p in params}
    for key, param in joined.keys.items():
        kind = types[key_of(key)]
        if kind != given[param] or duck_type(kind).kind not in _EXACT:
            raise ApartError(f"{param} is compared with a column of another type, or of floats")


def _version(select: str, params: tuple[Param, ...], options: CallOptions) -> str:
    """A hash of everything that decides an answer."""
    said = msgspec.json.encode(options) if options != CallOptions() else b""
    # Without a format a parameter is written as it was before there was one: such versions stay what they are.
    declared = [{k: v for k, v in msgspec.to_builtins(p).items() if v or k != "format"} for p in params]
    return hashlib.sha256(select.encode() + b"\0" + msgspec.json.encode(declared) + said).hexdigest()[:12]


def _params(query: Query, adapter: str, binder: Binder) -> tuple[Param, ...]:
    """One `Param` per name, in the order of first use; the macros leave them as comments in the SQL."""
    found: dict[str, Param] = {}
    for given in _declared(query.sql):
        param = _param({**given, "type": to_duckdb_type(given["type"], adapter)}, binder)
        if found.setdefault(param.name, param) != param:
            raise RefusedError(
                f"parameter {param.name} is declared twice, differently",
                construct=param.name,
                remedy="declare it the same way at each use",
            )
    return tuple(found.values())


def _declared(sql: str) -> Iterator[Mapping[str, Any]]:
    for token in sqlglot.tokenize(sql, read="duckdb"):
        for comment in token.comments:
            if comment.strip().startswith(PARAM_MARK):
                yield json.loads(comment.strip().removeprefix(PARAM_MARK))


def _param(given: Mapping[str, Any], binder: Binder) -> Param:
    name = str(given["name"])
    bound = binder.describe(f"SELECT CAST(NULL AS {given['type']})")[0][1]
    try:
        form(innermost(bound))
    except ConfigError as error:
        raise RefusedError(f"parameter {name}: {error.message}", construct=name, remedy=error.remedy) from None
    if duck_type(bound.name).kind is Kind.ARRAY and duck_type(bound.name).item.name != "FLOAT":
        raise RefusedError(
            f"parameter {name} is {bound.name}: vectors hold FLOATs",
            construct=name,
            remedy=f"declare it float[{duck_type(bound.name).size}]; array functions widen it",
        )
    default = given.get("default")
    required = given.get("required")
    return Param(
        name=name,
        type=bound.name,
        clickhouse=duck_type(bound.name).clickhouse,
        required=bool(required) if required is not None else default is None and name != AS_OF,
        default=default,
        description=given.get("description") or "",
        minimum=given.get("min"),
        maximum=given.get("max"),
        enum=tuple(given.get("enum") or ()),
        format=given.get("format") or "",
    )


def _check_declared(tree: exp.Query, params: tuple[Param, ...]) -> None:
    names = {p.name for p in params}
    for used in tree.find_all(exp.Placeholder, exp.Parameter):
        if used.name not in names:
            raise refused(
                used,
                f"parameter {used.name} is not declared",
                remedy=f"write {{{{ param('{used.name}', 'varchar') }}}}",
            )
